"""`aoss demo`."""
