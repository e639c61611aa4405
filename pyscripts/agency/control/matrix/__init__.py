"""Replies on their way to the homeserver: from the outbox, in order, each posted once."""
