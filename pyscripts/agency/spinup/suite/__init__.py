"""Looking at a machine from inside: running the suite, and reading what it found."""
