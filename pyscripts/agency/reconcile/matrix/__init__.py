"""Rooms of the homeserver."""
