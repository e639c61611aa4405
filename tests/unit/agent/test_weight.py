"""Libraries that an agent's idle processes must not carry: each costs all agents its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agency.agent.proxy.accounting.ledger import open_ledger
from agency.agent.proxy.accounting.prepare import prepare
from agency.clock import Clock

HEAVY = ("mcp", "httpx", "sqlalchemy", "alembic", "rich")


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(sys.modules.keys() & {set(HEAVY)}))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("agency.agent.process", set()),
        ("agency.agent.rooms.process", set()),
        ("agency.agent.proxy.process", {"sqlalchemy"}),
        ("agency.agent.gateway.process", {"mcp", "httpx", "rich"}),
    ],
)
def test_a_process_loads_what_it_needs(module: str, heavy: set[str]) -> None:
    assert loaded(module) == heavy


async def test_a_new_ledger_is_made_by_a_process_that_ends(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    await prepare(file)
    before = file.stat().st_ino
    await prepare(file)
    async with open_ledger(file, Clock()) as ledger:
        assert await ledger.adopt() == 0
    assert file.stat().st_ino == before


async def test_a_ledger_that_cannot_be_made_is_told_by_who_opens_it(tmp_path: Path) -> None:
    await prepare(tmp_path / "none" / "ledger.db")
    assert not (tmp_path / "none").exists()
