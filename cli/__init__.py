"""The gen3d command, one module per verb."""
