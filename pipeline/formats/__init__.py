"""Files: splats, pictures and video, one module per format."""
