"""The metrics pipeline: it turns the backend's events into measurements and carries them out."""
