"""The files of a local agency in which a secret would be a leak."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agency.spinup.targets.local.agency import LocalAgency
from agency.spinup.targets.local.models import program_tokens


def test_tokens_of_an_agent_s_programs_are_known(tmp_path: Path) -> None:
    held = {"gateway/credentials/gateway-token": "one", "rooms/credentials/matrix-token": "two"}
    for name, token in {**held, "rooms/state/other": "no token", "log": "neither"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{token}\n")
    assert {each.reveal() for each in program_tokens(tmp_path)} == set(held.values())


def test_every_log_of_a_local_agency_is_searched(tmp_path: Path) -> None:
    """Those of agents have no suffix: `agents/NAME/log`, and `log.1` that was set aside."""
    logs = ("logs/control.log", "control/agents/pm/log", "control/agents/pm/log.1")
    kept = ("control/control.db", "control/control.db-wal", "homeserver/homeserver.yaml")
    beside = ("control/agents/pm/agent.json", "control/agents/pm/credentials/acp-token")
    for name in (*logs, *kept, *beside):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run = SimpleNamespace(path=tmp_path, logs=tmp_path / "logs")
    agency = cast("Any", LocalAgency)(None, run, None, None, None, None)
    found = {str(path.relative_to(tmp_path)) for path in agency.files()}
    assert found == {*logs, *kept}
