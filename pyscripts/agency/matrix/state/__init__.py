"""Decisions on the state of a room: power, silence, succession, invitations. Pure."""
