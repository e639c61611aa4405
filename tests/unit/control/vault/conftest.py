"""A vault over the store of a test."""

from __future__ import annotations

import pytest
from vaulting import Safe

from agency.clock import Clock
from agency.store import Database


@pytest.fixture
def safe(database: Database, clock: Clock) -> Safe:
    return Safe(database, clock)
