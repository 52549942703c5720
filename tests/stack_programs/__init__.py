"""How the real programs of the stack are had, and in which versions."""
