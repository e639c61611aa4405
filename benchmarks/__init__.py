"""Numbers of the project, each measured against a named baseline of the same run."""
