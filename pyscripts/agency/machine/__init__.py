"""Access to a machine: running programs there, its units, and digests of its files."""
