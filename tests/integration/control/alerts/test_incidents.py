"""A critical incident of an agent reaches the room by the real control plane, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agency.clock import Clock
from agency.secrets import SecretValue
from agency.workspace.incidents.escalation import Webhook, escalate
from agency.workspace.incidents.model import Shared


def told(room: Any) -> list[str]:
    """What the control plane said of incidents, oldest first."""
    found = room.homeserver.messages(room.token, room.room_id)
    texts = [event["content"].get("body", "") for event in found[::-1]]
    return [text for text in texts if "Incident pm/" in text]


def test_a_critical_incident_is_told_once_and_when_it_is_over(
    control: Any, room: Any, tmp_path: Path, wait_for: Any
) -> None:
    token = (control.credentials / "alertmanager-token").read_text()
    webhook = Webhook(f"{control.url}/alerts", SecretValue(token))

    def incident(status: str) -> Shared:
        return Shared(
            agent="pm",
            name="no-forge",
            description="The forge is away.\nAsk @room <b>now</b>.",
            discovered_during="task a",
            severity="critical",
            status=status,
            fix="It is back." if status == "resolved" else None,
        )

    for _ in range(2):
        escalate([incident("open")], tmp_path, webhook, Clock())
    (first,) = wait_for(lambda: told(room), "message about the incident", 20)
    assert first.startswith("Critical: Incident pm/no-forge: The forge is away. Ask @ room")
    escalate([incident("resolved")], tmp_path, webhook, Clock())
    wait_for(lambda: len(told(room)) == 2, "message that it is over", 20)
    assert told(room)[1].startswith("Over: Incident pm/no-forge")
