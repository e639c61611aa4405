"""Metrics over a real socket: every number by its name, and what each is."""

from __future__ import annotations

from served_plane import Client, Plane, numbers_of

from agency.control.appservice.readiness import Numbers
from agency.control.appservice.refusals import Refused
from agency.control.conditions import Code
from agency.control.operation import State
from agency.control.operations.tally import Tally


async def test_metrics_tell_every_number_by_its_name(client: Client, plane: Plane) -> None:
    await client.get("/_matrix/none")
    plane.conditions.note(Code.ROOM_LOST, "lost", blocks=True)
    plane.conditions.note(Code.EVENTS_DROPPED, "dropped")
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
    text = await answer.text()
    found = numbers_of(text)
    assert {name: value for name, value in found.items() if value != "0.0"} | {
        name: value for name, value in found.items() if "connections_ended" in name
    } == {
        'agency_control_refused_total{reason="token"}': "1.0",
        f'agency_control_conditions{{blocks="true",code="{Code.ROOM_LOST.value}"}}': "1.0",
        f'agency_control_conditions{{blocks="false",code="{Code.EVENTS_DROPPED.value}"}}': "1.0",
        'agency_control_connections_ended_total{reason="slow"}': "0.0",
        'agency_control_connections_ended_total{reason="large"}': "0.0",
        'agency_control_connections_ended_total{reason="displaced"}': "0.0",
        'agency_control_operations_total{noun="agents",state="done"}': "4.0",
        'agency_control_operations_total{noun="other",state="failed"}': "1.0",
        "agency_control_operations_active": "5.0",
        "agency_control_approvals_waiting": "2.0",
        "agency_control_ready": "1.0",
        "agency_control_database_writable": "1.0",
        "agency_control_database_seconds": "0.125",
        'agency_control_outbox{state="waiting"}': "3.0",
        'agency_control_outbox{state="given_up"}': "1.0",
        "agency_control_last_transaction_age_seconds": "2.5",
        **{name: value for name, value in found.items() if name.startswith("process_")},
    }
    for kind in Refused:
        assert f'agency_control_refused_total{{reason="{kind.value}"}}' in found
    for result in ("stored", "known", "irrelevant", "dropped"):
        assert f'agency_control_events_total{{result="{result}"}}' in found
    for result in ("told", "known"):
        assert f'agency_control_alerts_total{{result="{result}"}}' in found
    assert "agency_control_conditions_overflow_total" in found
    assert "agency_control_accept_errors_total" in found
    assert any(name.startswith("process_resident_memory") for name in found)


HELP = {
    "refused_total": "Refused requests.",
    "events_total": "Events that the homeserver delivered.",
    "conditions": "Present conditions; one that blocks keeps commands from getting through.",
    "conditions_overflow_total": "Conditions not kept, because there were too many of their kind.",
    "connections_ended_total": "Connections that were ended, because no request came or there were "
    "too many.",
    "accept_errors_total": "Connections that could not be accepted.",
    "connections": "Open connections.",
    "alerts_total": "Alerts that Alertmanager delivered.",
    "operations_total": "Operations that ended.",
    "operations_active": "Operations and refusals that run or wait for their turn.",
    "approvals_waiting": "Operations that wait for an approval.",
    "ready": "1 if commands get through, as /ready says.",
    "database_writable": "1 if the database takes a write.",
    "database_seconds": "Time of the last trial of the database: a write, two looks.",
    "outbox": "Messages that wait, and those given up.",
    "last_transaction_age_seconds": "Time since the homeserver's last transaction; a quiet "
    "homeserver sends none.",
}


async def test_metrics_say_what_each_number_is(client: Client) -> None:
    lines = (await (await client.get("/metrics")).text()).splitlines()
    helps = dict(line[7:].split(" ", 1) for line in lines if line.startswith("# HELP agency_"))
    assert helps == {f"agency_control_{name}": text for name, text in HELP.items()}


async def test_what_is_not_known_is_no_number(client: Client, plane: Plane) -> None:
    plane.numbers = Numbers(False, {}, None, None)
    found = numbers_of(await (await client.get("/metrics")).text())
    assert found["agency_control_ready"] == "0.0"
    assert found["agency_control_database_writable"] == "0.0"
    assert not {name for name in found if "seconds" in name and name.startswith("agency")}
    assert not {name for name in found if "outbox" in name}


def test_operations_are_counted_by_a_bounded_number_of_names() -> None:
    ended = {
        ("agents stop", State.DONE): 2,
        ("agents start", State.DONE): 3,
        ("x" * 100, State.REFUSED): 1,
        ("y", State.REFUSED): 1,
    }
    found = Tally(ended=ended).by_noun(("agents",))
    assert found["agents", State.DONE] == 5
    assert found["other", State.REFUSED] == 2
    assert {noun for noun, _ in found} == {"agents", "other"}
    assert len(found) == len(Tally().by_noun(("agents",)))
    assert set(Tally().by_noun(("agents",)).values()) == {0}
