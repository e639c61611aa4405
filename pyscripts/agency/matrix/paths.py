"""Paths of the client-server API."""

from __future__ import annotations

from urllib.parse import quote


def client_path(*segments: str, version: str = "v3") -> str:
    """Build a path; each segment is quoted whole, so that an id cannot add another."""
    quoted = (quote(segment, safe="") for segment in segments)
    return f"/_matrix/client/{version}/{'/'.join(quoted)}"
