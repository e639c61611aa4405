"""Admission: a command becomes an operation, or is refused, or withdrawn."""
