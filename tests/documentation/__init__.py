"""The guides: every command is run, every link leads somewhere, every drawing can be read."""
