"""Migration of the database to this code's schema; a newer database is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.errors import PrerequisiteError
from agency.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables of a package: the folder of their Alembic revisions, and the ids, oldest first."""

    scripts: str  # `package:folder`
    revisions: tuple[str, ...]

    @property
    def newest(self) -> str:
        """The revision that the code works with."""
        return self.revisions[-1]


async def migrate(database: Database, schema: Schema) -> str:
    """Upgrade to the newest revision in one transaction, and return that revision.

    Alembic is imported only when there is a revision to apply: it costs the process 11 MB.

    Raises:
        PrerequisiteError: the database cannot be opened, belongs to another program, or is newer
            than this code.
    """
    try:
        found = await database.read(_revision)
        if found == schema.newest:
            return found
        if found is not None and found not in schema.revisions:
            raise PrerequisiteError(
                f"the database has revision {found[:40]!r}, "
                f"this version of the agency knows revisions up to {schema.newest!r}",
                where="database",
                hint="run the newer agency that wrote it, or restore a backup made by this one",
            )
        await database.write(partial(_upgrade, schema=schema))
    except DBAPIError as error:
        raise PrerequisiteError(
            f"cannot use the database: {error.orig}",
            where="database",
            hint="check that the file or server exists, belongs to the agency, and may be written",
        ) from error
    return schema.newest


def _revision(connection: Connection) -> str | None:
    """Return the revision of the database; None if it is empty."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if tables:
        raise PrerequisiteError(
            "the database holds tables that are not the agency's",
            where="database",
            hint="give the agency a database of its own",
        )
    return None


def alembic_config(schema: Schema) -> Config:
    """Make Alembic's configuration; there is no ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", schema.scripts)
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, schema: Schema) -> None:
    from alembic import command

    config = alembic_config(schema)
    config.attributes["connection"] = connection
    command.upgrade(config, schema.newest)
