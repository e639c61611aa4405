"""Docker Swarm: the swarm, its networks, and the stacks on it."""
