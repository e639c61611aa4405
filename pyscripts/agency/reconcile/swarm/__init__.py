"""Docker Swarm: itself, its networks, and the stacks on it."""
