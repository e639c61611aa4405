"""The project's numbers, measured against a named baseline of the same run."""
