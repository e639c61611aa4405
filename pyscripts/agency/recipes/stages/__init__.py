"""Stages of a run: install, upgrade, backup, custom; each a function over a `LiveApp`."""
