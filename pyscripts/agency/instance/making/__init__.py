"""Creation of a new instance: its options, then all of its files or none."""
