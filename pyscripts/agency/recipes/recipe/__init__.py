"""Reader of a Co-op Cloud recipe: its environment, compose files, labels and versions. Pure."""
