"""Making an agency from nothing, observing it, and signing what was seen.

`launch` runs before any library can be imported, so this file needs the standard library alone.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {"observe_local_agency": "agency.spinup.targets.local.verbs"}
__all__ = ["observe_local_agency"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
