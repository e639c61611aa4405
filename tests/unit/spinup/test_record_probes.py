"""What the store says of an operation, a secret and audit rows, over the product's own tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, insert

from agency.control.store import schema
from agency.errors import AgencyError
from agency.spinup.probes.probe import run

OPERATION = {
    "id": "op-1",
    "origin_kind": "matrix",
    "origin": "{}",
    "actor": "@alice:a.example",
    "action": "secrets delete",
    "command": "{}",
    "target": "secret deploy-token",
    "digest": "6f" * 32,
    "state": "done",
    "rule": "secret-delete",
    "deadline_ts": 1,
    "created_ts": 1,
    "changed_ts": 1,
    "trace": "t-1",
    "replies": 1,
}


def row(sequence: int, target: str, **detail: object) -> dict[str, object]:
    facts = {"trace": "t-1", "actor": "system", "action": "a", "outcome": "done"}
    hashes = {"previous": f"{sequence - 1:064}", "hash": f"{sequence:064}"}
    told = {"detail": json.dumps(detail) if detail else ""}
    return {"sequence": sequence, "ts": "2026-07-01", "target": target, **facts, **hashes, **told}


@pytest.fixture
def here(tmp_path: Path) -> Any:
    """A machine whose store has one operation with a grant, a secret, and four audit rows."""
    database = tmp_path / "control.db"
    engine = create_engine(f"sqlite:///{database}")
    schema.metadata.create_all(engine)
    secret = {
        "name": "deploy-token",
        "type": "text",
        "version": 3,
        "critical": 0,
        "author": "x",
        "created_ts": 1,
        "changed_ts": 1,
        "key_id": "k",
        "nonce": "n",
        "ciphertext": "c",
    }
    with engine.begin() as connection:
        connection.execute(insert(schema.operations), [OPERATION])
        grant = {"operation_id": "op-1", "granted_by": "@bob:a.example", "digest": "6f" * 32}
        connection.execute(insert(schema.grants), [{**grant, "granted_ts": 1, "spent_ts": 2}])
        connection.execute(insert(schema.metadata.tables["secrets"]), [secret])
        bound = {"secret": "deploy-token", "agent": "pm", "author": "x", "created_ts": 1}
        connection.execute(insert(schema.secret_bindings), [bound])
        rows = [
            row(1, "pm"),
            row(2, "pm", held="deploy-token 3", why="nobody asked for it here"),
            row(3, "developer"),
            row(4, "secret deploy-token", version=3, lease="lease-1"),
        ]
        connection.execute(insert(schema.audit), rows)
    engine.dispose()
    return SimpleNamespace(database=database)


async def test_an_operation_is_read_with_its_grants(here: Any) -> None:
    told = {"trace": "t-1", "action": "secrets delete"}
    assert await run(here, "operation.record", told) == {
        **{name: OPERATION[name] for name in ("id", "actor", "action", "target", "digest")},
        **{name: OPERATION[name] for name in ("state", "trace", "rule")},
        "cause": "matrix",
        "grants": [{"by": "@bob:a.example", "digest": "6f" * 32, "spent": True}],
    }
    with pytest.raises(AgencyError, match="0 operations agents stop of trace t-1"):
        await run(here, "operation.record", {"trace": "t-1", "action": "agents stop"})


async def test_a_secret_is_there_or_not_and_its_value_is_not_told(here: Any) -> None:
    seen = await run(here, "vault.secret", {"secret": "deploy-token"})
    assert seen == {"present": True, "version": 3, "agents": ["pm"]}
    seen = await run(here, "vault.secret", {"secret": "another"})
    assert seen == {"present": False, "version": None, "agents": []}


async def test_rows_are_those_about_the_targets_after_a_number(here: Any) -> None:
    told = {"after": 1, "targets": ["pm", "secret deploy-token"]}
    rows = (await run(here, "audit.rows", told))["rows"]
    assert [each["sequence"] for each in rows] == [2, 4]
    assert rows[0]["held"] == "deploy-token 3"
    assert "why" not in rows[0], "only what the rules read"
    assert (rows[1]["version"], rows[1]["lease"]) == (3, "lease-1")


@pytest.mark.parametrize("targets", [[f"agent-{n}" for n in range(9)], "pm"], ids=["many", "text"])
async def test_what_is_asked_has_bounds(targets: object, here: Any) -> None:
    with pytest.raises(ValueError, match="targets"):
        await run(here, "audit.rows", {"after": 0, "targets": targets})
