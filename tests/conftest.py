"""What holds for every suite: a property is about results, never about how long an example took."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("agency", deadline=None)
settings.load_profile("agency")
