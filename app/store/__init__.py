"""What is kept: servers, executions, their events."""
