"""Process of an agent."""
