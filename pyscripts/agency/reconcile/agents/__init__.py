"""Contents of each agent's home."""
