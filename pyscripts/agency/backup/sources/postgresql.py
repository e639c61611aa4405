"""PostgreSQL databases: dumps as of one moment each, and their restoration beside the old one.

    dump ─▶ pg_restore into NAME__restoring ─▶ one transaction renames both ─▶ the old one goes

Everything runs through the local socket, as a role that the server knows by its peer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agency.backup.manifest import DatabaseFacts
from agency.backup.settings import Server
from agency.errors import BadInputError, PrerequisiteError
from agency.programs import Bounds, Finished, find_program, run_to_end

HINT = "install PostgreSQL's client (Debian: apt-get install postgresql-client)"
QUERY_S = 120
_BOUNDS = Bounds(error_bytes=16 * 1024**2)
_FRESH, _OLD = "__restoring", "__before"
_FACTS = """SELECT json_build_object('owner', pg_get_userbyid(datdba),
 'encoding', pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype)
 FROM pg_database WHERE datname = '{name}'"""
_TABLES = """SELECT coalesce(json_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname)
 ORDER BY 1), '[]') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"""
_COPY = b"COPY "
_END = b"\\."


@dataclass(frozen=True, slots=True)
class Databases:
    """The databases of a server; `timeout_s` is of one dump or restoration."""

    server: Server
    timeout_s: float

    def facts(self, name: str) -> DatabaseFacts | None:
        """Read the facts of a database; None if there is none of that name."""
        found = self._query("postgres", _FACTS.format(name=name))
        return None if not found else DatabaseFacts.model_validate_json(found)

    def dump(self, name: str, target: Path) -> None:
        """Dump a database to a new file, in PostgreSQL's custom format.

        Raises:
            PrerequisiteError: the server does not answer, or there is no room.
        """
        self._to_file(target, "pg_dump", "--format=custom", f"--dbname={name}")

    def dump_globals(self, target: Path) -> None:
        """Dump roles and their memberships as SQL, without passwords."""
        self._to_file(target, "pg_dumpall", "--globals-only", "--no-role-passwords")

    def _to_file(self, target: Path, program: str, *options: str) -> None:
        try:
            with target.open("xb") as handle:
                done = self._run(program, *options, sink=_writer(handle.write))
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            target.unlink(missing_ok=True)
            raise PrerequisiteError(
                f"cannot write: {error.strerror or error}",
                where=str(target),
                hint="free space where the state directory of the backup is",
            ) from error
        if done.status != 0:
            target.unlink(missing_ok=True)
            raise PrerequisiteError(
                f"{program} failed: {done.reason}",
                where=options[-1].removeprefix("--dbname="),
                hint="systemctl status postgresql; the role must be the server's own administrator",
            )

    def rows_in(self, name: str) -> dict[str, int]:
        """Count the rows of each table of a database."""
        tables = json.loads(self._query(name, _TABLES))
        if not tables:
            return {}
        # A function takes 100 arguments: the pairs go into an array.
        pairs = ", ".join(
            f"{_literal(table)}, (SELECT count(*)::text FROM {table})"  # noqa: S608 - quoted
            for table in tables
        )
        found = self._query(name, f"SELECT json_object(ARRAY[{pairs}])", self.timeout_s)
        return {table: int(count) for table, count in json.loads(found).items()}

    def is_used(self, name: str) -> int:
        """Count the sessions that are connected to a database."""
        counted = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
        return int(self._query("postgres", counted))

    def restore(self, name: str, facts: DatabaseFacts, dump: Path) -> None:
        """Put a database back: the old one stays until the new one is whole.

        Raises:
            BadInputError: the dump cannot be restored. PrerequisiteError: the server refuses.
        """
        fresh, old = f"{name}{_FRESH}", f"{name}{_OLD}"
        self._drop(fresh)
        self._drop(old)
        self._ensure_role(facts.owner)
        self._must(
            "createdb",
            *("--template=template0", f"--encoding={facts.encoding}", f"--owner={facts.owner}"),
            *(f"--lc-collate={facts.collate}", f"--lc-ctype={facts.ctype}"),
            fresh,
        )
        done = self._run("pg_restore", "--exit-on-error", f"--dbname={fresh}", str(dump))
        if done.status != 0:
            self._drop(fresh)
            raise BadInputError(
                f"the dump cannot be restored: {done.reason}",
                where=name,
                hint="the database is as it was; use another snapshot",
            )
        swap = [f'ALTER DATABASE "{fresh}" RENAME TO "{name}"']
        if self.facts(name) is not None:
            swap.insert(0, f'ALTER DATABASE "{name}" RENAME TO "{old}"')
        self._query("postgres", "; ".join(("BEGIN", *swap, "COMMIT")))
        self._drop(old)

    def _drop(self, name: str) -> None:
        self._must("dropdb", "--if-exists", name)

    def _ensure_role(self, role: str) -> None:
        known = self._query("postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'")  # noqa: S608
        if not known:
            self._query("postgres", f'CREATE ROLE "{role}" LOGIN')

    def _query(self, database: str, sql: str, timeout: float = QUERY_S) -> str:
        options = ("--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")
        done = self._run(
            "psql", *options, f"--dbname={database}", "--file=-", stdin=sql.encode(), limit=timeout
        )
        if done.status != 0:
            raise _refused("psql", done)
        return done.stdout.decode().strip()

    def _must(self, program: str, *options: str) -> None:
        done = self._run(program, *options)
        if done.status != 0:
            raise _refused(program, done)

    def _run(
        self,
        program: str,
        *options: str,
        stdin: bytes | None = None,
        limit: float | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Finished:
        server = self.server
        place = (
            f"--host={server.socket}",
            f"--port={server.port}",
            f"--username={server.user}",
            "--no-password",
        )
        return run_to_end(
            (find_program(program, hint=HINT), *place, *options),
            timeout=limit or self.timeout_s,
            stdin=stdin,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            hint=HINT,
            bounds=_BOUNDS,
            sink=sink,
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table as COPY names it: quoted where it must be, with its schema."""

    name: str
    columns: tuple[str, ...]

    def values(self, row: bytes) -> dict[str, str]:
        """Read a row of COPY's text format; NULL is left out (PostgreSQL's manual, COPY)."""
        pairs = zip(self.columns, row.decode().split("\t"), strict=True)
        return {column: _unescaped(text) for column, text in pairs if text != "\\N"}


_ESCAPE = re.compile(r"\\(.)", re.S)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text)


Each = Callable[[Table, bytes], None]


def read_dump(dump: Path, timeout: float, each: Each) -> None:
    """Pass each row of a dump, as text of COPY, with its table.

    Raises:
        BadInputError: it is no dump, or is damaged.
    """
    reader = _CopyReader(each)
    done = run_to_end(
        (find_program("pg_restore", hint=HINT), "--data-only", "--file=-", str(dump)),
        timeout=timeout,
        hint=HINT,
        bounds=_BOUNDS,
        sink=reader.take,
    )
    if done.status != 0:
        raise BadInputError(f"the dump is damaged: {done.reason}", where=str(dump))


def rows_of_dump(dump: Path, timeout: float, each: Each | None = None) -> dict[str, int]:
    """Count the rows of each table in a dump; `each` takes every row too."""
    counts: dict[str, int] = {}

    def count(table: Table, row: bytes) -> None:
        counts[table.name] = counts.get(table.name, 0) + 1
        if each is not None:
            each(table, row)

    read_dump(dump, timeout, count)
    return counts


@dataclass(slots=True)
class _CopyReader:
    """Reader of SQL text as pg_restore writes it: rows lie between a COPY and its end."""

    each: Each
    table: Table | None = None
    _rest: bytes = field(default=b"")

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self.table is None:
            if line.startswith(_COPY) and line.endswith(b" FROM stdin;"):
                name, _, columns = line.removeprefix(_COPY).decode().partition(" (")
                listed = columns.removesuffix(") FROM stdin;").split(", ")
                self.table = Table(name, tuple(listed))
        elif line == _END:
            self.table = None
        else:
            self.each(self.table, line)


def _writer(write: Callable[[bytes], int]) -> Callable[[bytes], None]:
    def take(chunk: bytes) -> None:
        write(chunk)

    return take


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refused(program: str, done: Finished) -> PrerequisiteError:
    return PrerequisiteError(
        f"{program} failed: {done.reason}",
        where="PostgreSQL",
        hint="systemctl status postgresql; run this as root",
    )
