"""Root service that receives the agents' events."""
