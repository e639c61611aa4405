"""Settings of properties: they are about results, never about how long an example took."""

from __future__ import annotations

from hypothesis import settings


def use() -> None:
    """Take them for every property of a suite."""
    settings.register_profile("agency", deadline=None)
    settings.load_profile("agency")
