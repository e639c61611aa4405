"""The extras of the package: which one brings a library that is not installed.

The package alone verifies transcripts; every other command needs an extra (pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Mapping

from agency.errors import PrerequisiteError

# By the name that is imported. A test holds this and pyproject.toml together.
EXTRAS: Mapping[str, str] = {
    "aiodocker": "full",
    "aiohttp": "full",
    "aiosqlite": "full",
    "alembic": "full",
    "dbus_fast": "full",
    "gitlab": "full",
    "jinja2": "full",
    "requests": "full",
    "sqlalchemy": "full",
    "urllib3": "full",
    "yaml": "full",
    "yarl": "full",
    "asyncpg": "postgresql",
    "authlib": "guest",
    "mechanicalsoup": "guest",
    "psycopg2": "guest",
    "synapse": "local",
}


def missing_extra(error: ModuleNotFoundError) -> PrerequisiteError | None:
    """Say which extra to install, in one line; None when no extra has the module."""
    library = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(library)
    if extra is None:
        return None
    return PrerequisiteError(f"this needs {library}: pip install 'agency[{extra}]'")
