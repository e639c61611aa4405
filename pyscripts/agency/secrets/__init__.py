"""Secrets: the catalogue, sources, delivery to services, and redaction."""
