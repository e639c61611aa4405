"""A workspace: its files, its repository, and what is taken over from its remote."""
