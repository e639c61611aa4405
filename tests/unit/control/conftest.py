"""A real store in a file, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

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


@pytest.fixture
async def database(database_file: Path, clock: Clock) -> AsyncIterator[Database]:
    """A migrated SQLite database with an opened audit log."""
    opened = open_database(f"sqlite+aiosqlite:///{database_file}")
    await migrate(opened, schema.SCHEMA)
    await opened.write(lambda connection: audit.open_log(connection, INSTANCE, clock))
    yield opened
    await opened.close()


@pytest.fixture
def desk(database: Database, clock: Clock, held: Any) -> Desk:
    return Desk(database, clock, held)
