"""A durable store for packages that keep state: engine, migrations, and one holder per database.

This package knows no tables: its callers bring a `Schema` and functions over a connection.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agency.store.database import Database, open_database, parse_url, sqlite_path
    from agency.store.holding import Hold, Holder, hold
    from agency.store.migration import Schema, migrate

__all__ = [
    "Database",
    "Hold",
    "Holder",
    "Schema",
    "hold",
    "migrate",
    "open_database",
    "parse_url",
    "sqlite_path",
]

_HOMES = {
    "Database": "database",
    "Hold": "holding",
    "Holder": "holding",
    "Schema": "migration",
    "hold": "holding",
    "migrate": "migration",
    "open_database": "database",
    "parse_url": "database",
    "sqlite_path": "database",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use: importing SQLAlchemy costs a command line 100 ms."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
