"""What `aoss` does, one command a file."""
