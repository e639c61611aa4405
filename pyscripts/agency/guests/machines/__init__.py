"""Machines of Incus: which, whose, made, reached, and removed."""
