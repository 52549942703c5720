"""`aoss top`."""
