"""Compliance: what a command does, read from its grammar, and the rules that deny it."""
