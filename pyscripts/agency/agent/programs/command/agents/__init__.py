"""Command-line agents, one a module."""
