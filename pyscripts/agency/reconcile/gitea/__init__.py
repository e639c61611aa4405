"""Gitea: the OAuth client of the CI engine."""
