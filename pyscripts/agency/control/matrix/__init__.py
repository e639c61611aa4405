"""Talking to the homeserver as an application service."""
