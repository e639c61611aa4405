"""The runtime inside an agent."""
