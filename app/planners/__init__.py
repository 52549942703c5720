"""Planners: from a request to steps, and from a failure to a recovery."""
