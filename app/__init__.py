"""The AOSS backend: plans shell steps, runs them on servers, heals what fails, and tells what happened."""
