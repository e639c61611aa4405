"""Protocols between two of the agency's own programs."""
