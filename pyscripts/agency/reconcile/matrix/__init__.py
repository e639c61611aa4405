"""The rooms of the homeserver."""
