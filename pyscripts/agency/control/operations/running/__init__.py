"""Queues, execution, records: an operation runs in its turn, and its result is kept."""
