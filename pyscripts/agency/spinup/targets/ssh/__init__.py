"""Host that already runs, reached over SSH: looked at, and driven only when asked to."""
