"""Where a command runs: here, or on a server over SSH."""
