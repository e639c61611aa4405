"""The package's extras: the extra that installs a missing library.

The package alone verifies transcripts; every other command needs an extra (pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Mapping

from agency.errors import PrerequisiteError

# By import name. A test compares this with pyproject.toml.
EXTRAS: Mapping[str, str] = {
    "aiodocker": "full",
    "aiohttp": "full",
    "aiosqlite": "full",
    "alembic": "full",
    "anybadge": "full",
    "dbus_fast": "full",
    "feedgenerator": "full",
    "gitlab": "full",
    "httpx": "full",
    "jinja2": "full",
    "jsonschema": "full",
    "mcp": "full",
    "prometheus_client": "full",
    "re2": "full",
    "requests": "full",
    "ruamel": "full",
    "sqlalchemy": "full",
    "starlette": "full",
    "urllib3": "full",
    "uvicorn": "full",
    "yaml": "full",
    "yarl": "full",
    "asyncpg": "postgresql",
    "authlib": "guest",
    "mechanicalsoup": "guest",
    "psycopg2": "guest",
    "synapse": "local",
}


def missing_extra(error: ModuleNotFoundError) -> PrerequisiteError | None:
    """Say in one line which extra to install; None if no extra has the module."""
    library = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(library)
    if extra is None:
        return None
    return PrerequisiteError(f"this needs {library}: pip install 'agency[{extra}]'")
