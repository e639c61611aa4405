"""Protocols between two programs of the agency."""
