"""Collectors of evidence: each looks at a running system and returns what it saw."""
