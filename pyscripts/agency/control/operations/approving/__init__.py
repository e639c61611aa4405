"""Approvals: what an operation that waits shows, and what counts as a decision on it."""
