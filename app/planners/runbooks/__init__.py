"""The built-in runbooks, one YAML file for each persona."""
