"""Reactions to what happens in the control room besides commands."""
