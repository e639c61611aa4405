"""The master key of a running control plane is changed, through kill -9, and lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vault_places import CANARY, by_stdin
from vaulting import Safe, master_key, wanted

from agency.clock import Clock
from agency.control.vault.keys import read_keyring
from agency.secrets import SecretValue
from agency.store import open_database

MANY = 600


def fill(control: Any, key: str) -> None:
    """Store many secrets while the control plane is down."""

    async def work() -> None:
        database = open_database(control.config["database_url"])
        try:
            vault = Safe(database, Clock(), key).vault()

            def change(connection: Any) -> None:
                for number in range(MANY):
                    value = SecretValue(f"{CANARY}-{number}")
                    vault.store(connection, wanted(f"secret-{number}"), value)
                    if number % 100 == 0:
                        vault.check(connection)

            await database.write(change)
        finally:
            await database.close()

    asyncio.run(work())


def readable(control: Any, key: str) -> bool:
    """Whether every value can be read with one key alone, and is right."""

    async def look() -> bool:
        database = open_database(control.config["database_url"])
        try:
            vault = Safe(database, Clock(), key).vault()
            for number in range(0, MANY, 50):
                await vault.bind(f"secret-{number}", "pm", "@alice:x.org")
            values = {each.reveal() for each in await vault.values_of("pm")}
            return values == {f"{CANARY}-{number}" for number in range(0, MANY, 50)}
        finally:
            await database.close()

    return asyncio.run(look())


def key_id(key: str) -> str:
    return read_keyring(SecretValue(key)).newest.id


@pytest.fixture
def own_keys(homeserver: Any, control: Any, tmp_path: Path) -> Callable[[str], None]:
    """Gives the control plane credentials of its own, with these master keys."""
    place = tmp_path / "credentials"
    place.mkdir()
    for name in ("matrix-as-token", "matrix-hs-token"):
        (place / name).write_text((homeserver.credentials / name).read_text())
    control.credentials = place

    def put(keys: str) -> None:
        (place / "vault-master-key").write_text(f"{keys}\n")

    return put


@pytest.mark.thorough
def test_a_rotation_that_is_killed_goes_on_at_the_next_start(
    control: Any, own_keys: Callable[[str], None], wait_for: Callable[..., Any]
) -> None:
    old, new = master_key(), master_key()
    own_keys(old)
    control.start()
    control.stop()
    fill(control, old)
    own_keys(f"{new} {old}")
    control.launch()

    def done() -> int:
        rows = control.query(f"SELECT count(*) FROM secrets WHERE key_id = '{key_id(new)}'")
        return int(rows[0][0])

    wait_for(done, "values under the new key", 30)
    control.stop(9)
    killed_at = done()
    assert 0 < killed_at < MANY
    control.start()
    wait_for(lambda: done() == MANY, "all values under the new key", 30)
    control.stop()
    own_keys(new)
    control.start()
    assert by_stdin(control, "secrets", "set", "another")["outcome"] == "done"
    control.stop()
    assert readable(control, new)


@pytest.mark.thorough
def test_a_lost_master_key_is_said_with_what_mends_it(
    control: Any, own_keys: Callable[[str], None], wait_for: Callable[..., Any]
) -> None:
    old, new = master_key(), master_key()
    own_keys(old)
    control.start()
    by_stdin(control, "secrets", "set", "github")
    control.stop()
    own_keys(new)
    control.start()
    warnings = wait_for(lambda: json.dumps(control.ready().json()["warnings"]), "warning")
    assert "vault-unusable" in warnings
    assert key_id(old) in warnings
    assert by_stdin(control, "secrets", "set", "other")["outcome"] == "failed"
    control.stop()
    own_keys(f"{new} {old}")
    control.start()
    assert by_stdin(control, "secrets", "rotate", "github")["outcome"] == "done"
