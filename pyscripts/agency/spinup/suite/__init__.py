"""Looking at a machine from inside: the suite, and the open way into it."""
