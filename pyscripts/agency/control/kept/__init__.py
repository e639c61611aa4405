"""Settings and tokens of a running control plane, kept in its store."""
