"""Types of the single values of a workspace's sheets."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,78}[a-z0-9])?$", strict=True)
]
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Text = Annotated[
    str, StringConstraints(min_length=1, max_length=8000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]+$")
]
