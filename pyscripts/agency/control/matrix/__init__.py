"""Sending of replies to the homeserver: from the outbox, in order, each posted once."""
