"""Presets as YAML, one folder per verb."""
