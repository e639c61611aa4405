"""Bringing the database to the schema of this code, and refusing one that is newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.control.store.database import Database
from agency.control.store.schema import REVISION, REVISIONS
from agency.errors import PrerequisiteError

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = "agency.control.store:migrations"


async def migrate(database: Database) -> str:
    """Upgrade to the newest revision, in one transaction; returns that revision.

    Alembic is imported only when there is something to do: it costs the process 11 MB.

    Raises:
        PrerequisiteError: the database cannot be opened, is not ours, or is newer than this code.
    """
    try:
        found = await database.read(_revision)
        if found == REVISION:
            return REVISION
        if found is not None and found not in REVISIONS:
            raise PrerequisiteError(
                f"the database has revision {found[:40]!r}, this agency knows up to {REVISION!r}",
                where="database",
                hint="run the newer agency that wrote it, or restore a backup made by this one",
            )
        await database.write(_upgrade)
    except DBAPIError as error:
        raise PrerequisiteError(
            f"cannot use the database: {error.orig}",
            where="database",
            hint="check that the file or server is there, is ours, and may be written",
        ) from error
    return REVISION


def _revision(connection: Connection) -> str | None:
    """The revision of the database, or None for an empty one."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if tables:
        raise PrerequisiteError(
            "the database holds tables that are not the agency's",
            where="database",
            hint="give the control plane a database of its own",
        )
    return None


def alembic_config() -> Config:
    """Alembic's configuration; there is no ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)
