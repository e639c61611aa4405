"""Secrets: which there are, who makes them, where they come from, and how they stay hidden."""
