"""Commands on their way: admitted in order, run in turn, answered where they came from.

`Operations` is what the rest of the control plane uses; `Origin` says where a command came from.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.control.operations.model import Operation, Origin, OriginKind, State
    from agency.control.operations.service import Operations

__all__ = ["Operation", "Operations", "Origin", "OriginKind", "State"]

_HOMES = {
    "Operation": "model",
    "Operations": "service",
    "Origin": "model",
    "OriginKind": "model",
    "State": "model",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: the store needs the model alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
