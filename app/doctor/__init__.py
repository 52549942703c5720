"""What `aoss doctor` looks at, a part of the deployment a file."""
