"""A real store, and a clock that stands still.

The store is a SQLite file. The tests of the store, and those about what a crash or a fault leaves,
run on a real PostgreSQL, too, under the marker `thorough`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk import Desk
from serving_postgresql import INITDB, POSTGRES, serving
from sqlalchemy import text

from agency.clock import Clock
from agency.control.store import audit, schema
from agency.store import Database, migrate, open_database

INSTANCE = "test"


@dataclass
class HeldClock:
    """Time that passes when a test says so."""

    seconds: float = 1_800_000_000.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.seconds, steady=lambda: self.seconds)


@pytest.fixture
def held() -> HeldClock:
    return HeldClock()


@pytest.fixture
def clock(held: HeldClock) -> Clock:
    return held.clock()


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "control.db"


HERE = Path(__file__).parent
ON_BOTH = (
    "store/*",
    "asking/test_asking.py",
    "asking/test_judging.py",
    "operations/test_approvals.py",
    "operations/test_cancelled_caller.py",
    "operations/test_crash.py",
    "operations/test_interrupted.py",
    "operations/test_queues.py",
    "operations/test_settling.py",
    "operations/test_side_by_side.py",
)
SQLITE_ALONE = ("pragma", "database_file")  # arguments of tests about SQLite's file
SQLITE_NAMES = ("test_only_what_can_be_done_again_is_not_flushed",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    path = Path(str(metafunc.definition.path))
    if (
        "database" in metafunc.fixturenames
        and path.is_relative_to(HERE)
        and any(path.relative_to(HERE).match(each) for each in ON_BOTH)
        and not set(SQLITE_ALONE) & set(metafunc.fixturenames)
        and metafunc.function.__name__ not in SQLITE_NAMES
    ):
        server = pytest.param("postgresql", marks=pytest.mark.thorough)
        metafunc.parametrize("backend", ["sqlite", server], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def server() -> Iterator[Path]:
    """A real PostgreSQL, on a socket in this directory."""
    if INITDB is None or POSTGRES is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    with serving("agency") as place:
        yield place


@pytest.fixture
def place(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The store's URL, or the path of its file."""
    if backend == "sqlite":
        return str(tmp_path / "control.db")
    return f"postgresql+asyncpg://agency@/postgres?host={request.getfixturevalue('server')}"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied: every test would wait for the same migrations."""
    file = tmp_path_factory.mktemp("migrated") / "control.db"

    async def make() -> None:
        opened = open_database(str(file))
        await migrate(opened, schema.SCHEMA)
        await opened.close()

    asyncio.run(make())
    return file


@pytest.fixture
async def database(
    place: str, backend: str, clock: Clock, migrated: Path
) -> AsyncIterator[Database]:
    """A migrated database with an opened audit log."""
    if backend == "sqlite":
        shutil.copy(migrated, place)
        opened = open_database(place)
    else:
        opened = open_database(place)
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"):
            await opened.write(lambda c, s=statement: c.execute(text(s)))  # type: ignore[misc]
        await migrate(opened, schema.SCHEMA)
    await opened.write(lambda connection: audit.open_log(connection, INSTANCE, clock))
    yield opened
    await opened.close()


@pytest.fixture
def desk(database: Database, clock: Clock, held: Any) -> Desk:
    return Desk(database, clock, held)
