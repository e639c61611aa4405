"""Restoring: extract a snapshot, or put it back in place."""
