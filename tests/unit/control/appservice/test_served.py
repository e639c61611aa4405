"""The pages and calls that the server answers, over a real socket: each status and each word."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy.exc import OperationalError

from agency.clock import Clock
from agency.control.alerts.delivery import MAX_BODY, MalformedAlertsError
from agency.control.alerts.intake import BusyError
from agency.control.appservice.access import OwnNames
from agency.control.appservice.alerts import AlertsPage
from agency.control.appservice.readiness import Numbers
from agency.control.appservice.refusals import Refusals, Refused
from agency.control.appservice.server import AppService, build_app, server_limits
from agency.control.appservice.transactions import (
    InboxFullError,
    Intake,
    TransactionError,
    read_events,
)
from agency.control.conditions import Code, Conditions
from agency.control.operation import State
from agency.control.operations.tally import Tally
from agency.secrets import SecretValue
from agency.store import Database

WORD = "hs-word"
RIGHT = {"Authorization": f"Bearer {WORD}"}
TRANSACTIONS = "/_matrix/app/v1/transactions"


class Plane:
    """The parts behind the server, as a test sets them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.conditions = Conditions(clock)
        self.refusals = Refusals(self.conditions)
        self.ready, self.stopping = True, False
        self.answers = 0
        self.numbers = Numbers(True, {"waiting": 3, "given_up": 1}, 2.5, 0.125)
        self.tally = Tally(2, 5, {("agents stop", State.DONE): 4, ("odd", State.FAILED): 1})
        self.intake = Intake(
            database=database,
            clock=clock,
            new_trace=lambda: "t",
            looks_like_command=lambda text: text.startswith("!agency"),
            max_inbox=2,
            wake=asyncio.Event(),
            conditions=self.conditions,
        )

    def service(self) -> AppService:
        async def answered() -> None:
            self.answers += 1

        async def readiness() -> dict[str, Any]:
            return {"ready": self.ready, "reasons": ["details"]}

        async def is_ready() -> bool:
            return self.ready

        async def numbers() -> Numbers:
            return self.numbers

        return AppService(
            hs_token=SecretValue(WORD),
            intake=self.intake,
            max_body=MAX_BODY * 2,
            user_exists=lambda user: user == "@agency:x",
            alias_exists=lambda alias: alias == "#control:x",
            readiness=readiness,
            is_ready=is_ready,
            answered=answered,
            stopping=lambda: self.stopping,
            conditions=self.conditions,
            refusals=self.refusals,
            names=OwnNames("127.0.0.1"),
            numbers=numbers,
            nouns=("agents", "ping"),
            tally=lambda: self.tally,
        )


@pytest.fixture
def plane(database: Database, clock: Clock) -> Plane:
    return Plane(database, clock)


Client = TestClient[Any, Any]


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app(plane.service()))) as opened:
        yield opened


async def told(answer: Any) -> tuple[int, Any]:
    return answer.status, await answer.json()


def message(number: int, text: str = "!agency ping") -> dict[str, Any]:
    return {
        "type": "m.room.message",
        "event_id": f"$e{number}",
        "room_id": "!r:x",
        "sender": "@alice:x",
        "origin_server_ts": 1,
        "content": {"msgtype": "m.text", "body": text},
    }


async def test_pages_for_everybody(client: Client, plane: Plane) -> None:
    assert await told(await client.get("/live")) == (200, {"live": True})
    assert await told(await client.get("/health")) == (200, {"status": "ok"})
    assert await told(await client.get("/ready")) == (200, {"ready": True})
    plane.ready = False
    assert await told(await client.get("/ready")) == (503, {"ready": False})
    assert not plane.refusals.counts, "what is not ready is no refusal"


async def test_details_are_for_who_holds_the_token(client: Client) -> None:
    answer = await client.get("/ready", headers=RIGHT)
    assert await told(answer) == (200, {"ready": True, "reasons": ["details"]})
    for headers in ({"Authorization": "Bearer x"}, {"Authorization": WORD}, {}):
        assert await told(await client.get("/ready", headers=headers)) == (200, {"ready": True})
    answer = await client.get("/ready", params={"access_token": WORD}, headers=RIGHT)
    assert await told(answer) == (200, {"ready": True}), "a token in a query ends in logs"


async def test_connections_of_strangers_are_closed(client: Client) -> None:
    assert (await client.get("/live")).headers["Connection"] == "close"
    assert "Connection" not in (await client.get("/live", headers=RIGHT)).headers


NO_TOKEN = {"errcode": "M_FORBIDDEN", "error": "hs_token is needed, in the Authorization header"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{TRANSACTIONS}/1"),
        ("GET", "/_matrix/app/v1/users/@agency:x"),
        ("GET", "/_matrix/app/v1/rooms/%23control:x"),
        ("POST", "/_matrix/app/v1/ping"),
        ("GET", "/_matrix/none"),
    ],
)
async def test_the_homeservers_calls_need_its_token(
    client: Client, plane: Plane, method: str, path: str
) -> None:
    assert await told(await client.request(method, path)) == (403, NO_TOKEN)
    answer = await client.request(method, path, params={"access_token": WORD}, headers=RIGHT)
    assert await told(answer) == (403, NO_TOKEN)
    assert plane.refusals.counts == {Refused.TOKEN: 2}
    assert plane.conditions.present() == (), "no transaction of the homeserver was refused"


async def test_users_rooms_and_pings_are_answered(client: Client) -> None:
    async def get(path: str) -> tuple[int, Any]:
        return await told(await client.get(f"/_matrix/app/v1/{path}", headers=RIGHT))

    not_ours = {"errcode": "M_NOT_FOUND", "error": "not ours"}
    assert await get("users/@agency:x") == (200, {})
    assert await get("users/@alice:x") == (404, not_ours)
    assert await get("rooms/%23control:x") == (200, {})
    assert await get("rooms/%23other:x") == (404, not_ours)
    answer = await client.post("/_matrix/app/v1/ping", headers=RIGHT, json={"transaction_id": "a"})
    assert await told(answer) == (200, {})
    assert await get("none") == (404, {"errcode": "M_UNRECOGNIZED", "error": "no such endpoint"})
    answer = await client.post("/live", headers=RIGHT)
    assert await told(answer) == (405, {"errcode": "M_UNRECOGNIZED", "error": "no such method"})


Put = Callable[..., Any]


@pytest.fixture
def put(client: Client) -> Put:
    async def put(body: Any, txn: str = "1") -> tuple[int, Any]:
        kind = {"json": body} if isinstance(body, dict | list) else {"data": body}
        return await told(await client.put(f"{TRANSACTIONS}/{txn}", headers=RIGHT, **kind))

    return put


async def test_a_transaction_is_taken_and_waited_for_once(put: Put, plane: Plane) -> None:
    assert await put({"events": [message(1)]}) == (200, {})
    assert plane.answers == 1
    assert plane.intake.wake.is_set()
    assert await put({"events": [message(1)]}) == (200, {})
    assert await put({"events": []}) == (200, {})
    assert await put({"events": [message(2, "hello")]}, "2") == (200, {})
    assert plane.answers == 1, "nothing is fresh"
    assert plane.intake.counts.as_dict() == {
        "stored": 1,
        "known": 1,
        "irrelevant": 1,
        "dropped": 0,
    }


@pytest.mark.parametrize(
    ("body", "errcode", "error"),
    [
        (b"", "M_NOT_JSON", "the body is not JSON"),
        (b"{", "M_NOT_JSON", "the body is not JSON"),
        (b'{"events": [NaN]}', "M_NOT_JSON", "the body is not JSON"),
        (b"[" * 4000, "M_NOT_JSON", "the body is not JSON"),
        (b"[]", "M_BAD_JSON", "the body has no list `events`"),
        (b"{}", "M_BAD_JSON", "the body has no list `events`"),
        (b'{"events": {}}', "M_BAD_JSON", "the body has no list `events`"),
    ],
)
async def test_a_malformed_transaction_says_what_is_wrong(
    put: Put, plane: Plane, body: bytes, errcode: str, error: str
) -> None:
    assert await put(body) == (400, {"errcode": errcode, "error": error})
    with pytest.raises(TransactionError) as caught:
        read_events(body)
    assert (caught.value.errcode, str(caught.value)) == (errcode, error)
    (condition,) = plane.conditions.present()
    assert condition.blocks
    assert condition.text == (
        "the homeserver's last transaction was refused: HTTP 400, malformed; it sends nothing "
        "else until that is taken"
    )
    assert condition.hint == "look for what stands between the homeserver and the control plane"
    assert await put({"events": []}) == (200, {})
    assert plane.conditions.present() == ()


async def test_a_transaction_id_is_printable_and_short(put: Put) -> None:
    refused = (400, {"errcode": "M_INVALID_PARAM", "error": "a malformed transaction id"})
    assert await put({"events": []}, "x" * 255) == (200, {})
    assert await put({"events": []}, "x" * 256) == refused
    assert await put({"events": []}, "%07") == refused


async def test_a_body_has_a_limit(put: Put, plane: Plane) -> None:
    answer = await put(b"x" * (2 * MAX_BODY + 1))
    assert answer == (413, {"errcode": "M_TOO_LARGE", "error": "the body is too large"})
    (condition,) = plane.conditions.present()
    assert "HTTP 413, too-large" in condition.text
    assert condition.hint == "raise limits.max_transaction_bytes of the control plane"


async def test_an_empty_inbox_takes_a_transaction_of_any_number(put: Put, plane: Plane) -> None:
    """Or the homeserver would send it for ever, and nothing after it."""
    assert await put({"events": [message(1), message(2), message(3)]}) == (200, {})
    assert plane.intake.counts.stored == 3


async def test_a_full_inbox_asks_to_deliver_again(put: Put, plane: Plane) -> None:
    assert await put({"events": [message(1), message(2)]}) == (200, {})
    full = {"errcode": "M_LIMIT_EXCEEDED", "error": "too much is waiting; deliver again later"}
    assert await put({"events": [message(3)]}, "3") == (503, full)
    with pytest.raises(InboxFullError):
        await plane.intake.take("4", [message(4)])
    assert plane.refusals.counts == {Refused.BUSY: 1}


async def test_who_is_ending_takes_nothing_and_notes_nothing(put: Put, plane: Plane) -> None:
    plane.stopping = True
    answer = await put({"events": [message(1)]})
    assert answer == (503, {"errcode": "M_UNKNOWN", "error": "the control plane is ending"})
    assert plane.conditions.present() == ()
    assert plane.intake.counts.stored == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
async def test_pages_answer_to_their_own_names_alone(
    client: Client, plane: Plane, host: str
) -> None:
    for own in ("127.0.0.1:9", "localhost", "[::1]", "127.9.9.9"):
        assert (await client.get("/live", headers={"Host": own})).status == 200
    answer = await client.get("/live", headers={"Host": host})
    wanted = {"errcode": "M_FORBIDDEN", "error": "this server has another name"}
    assert await told(answer) == (421, wanted)
    assert plane.refusals.counts == {Refused.HOST: 1}


@pytest.mark.parametrize(
    ("listens", "host", "is_own"),
    [
        ("192.0.2.7", "192.0.2.7:8009", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("0.0.0.0", "192.0.2.8", True),
        ("::", "[2001:db8::1]:80", True),
        ("0.0.0.0", "evil.example", False),
        ("Agency.local", "agency.local", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "a b", False),
        ("127.0.0.1", "[", False),
    ],
)
def test_own_names(listens: str, host: str, is_own: bool) -> None:
    assert OwnNames(listens).include(host) is is_own


def numbers_of(text: str) -> dict[str, str]:
    return {
        line.rpartition(" ")[0]: line.rpartition(" ")[2]
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


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


def test_the_servers_limits() -> None:
    limits = server_limits(7)
    assert (limits.body_bytes, limits.keep_alive_s) == (7, 3630.0)
    assert (limits.bounds.connections, limits.bounds.head_bytes) == (64, 16 * 1024)
    assert (limits.bounds.head_s, limits.bounds.headers) == (10.0, 40)


class Alerts:
    """An intake of alerts whose answers a test sets."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(told=2, known=1)
        self.answer: int | Exception = 2
        self.bodies: list[bytes] = []

    async def take(self, body: bytes) -> int:
        self.bodies.append(body)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def alerted(plane: Plane) -> AsyncIterator[tuple[Client, Alerts]]:
    intake: Any = Alerts()
    page = AlertsPage(SecretValue("am-word"), intake, lambda: plane.stopping)
    service = replace(plane.service(), alerts=page)
    async with TestClient(TestServer(build_app(service))) as opened:
        yield opened, intake


ALERTMANAGER = {"Authorization": "Bearer am-word"}


async def test_alerts_are_taken_from_alertmanager_alone(alerted: tuple[Client, Alerts]) -> None:
    client, intake = alerted
    answer = await client.post("/alerts", data=b"{}", headers=ALERTMANAGER)
    assert await told(answer) == (200, {"told": 2})
    assert intake.bodies == [b"{}"]
    for headers in ({}, RIGHT, {"Authorization": "Bearer am-wor"}):
        answer = await client.post("/alerts", data=b"{}", headers=headers)
        assert answer.status == 401
        assert (await answer.json())["errcode"] == "M_UNKNOWN_TOKEN"
    assert intake.bodies == [b"{}"], "a body is not read before the token"
    found = numbers_of(await (await client.get("/metrics")).text())
    assert found['agency_control_alerts_total{result="told"}'] == "2.0"
    assert found['agency_control_alerts_total{result="known"}'] == "1.0"


async def test_a_delivery_says_its_length_and_is_bounded(alerted: tuple[Client, Alerts]) -> None:
    client, intake = alerted

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    answer = await client.post("/alerts", data=pieces(), headers=ALERTMANAGER)
    assert answer.status == 411
    answer = await client.post("/alerts", data=b"x" * (MAX_BODY + 1), headers=ALERTMANAGER)
    assert answer.status == 413
    assert intake.bodies == []


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (MalformedAlertsError("alerts: is\n\u2028 missing"), 400, "alerts: is ? missing"),
        (BusyError("too much waits"), 503, "too much waits"),
        (OperationalError("x", None, Exception("disk full")), 503, "cannot be stored"),
    ],
)
async def test_what_alertmanager_should_do_is_in_the_status(
    alerted: tuple[Client, Alerts], failure: Exception, status: int, said: str
) -> None:
    client, intake = alerted
    intake.answer = failure
    answer = await client.post("/alerts", data=b"{}", headers=ALERTMANAGER)
    assert (answer.status, (await answer.json())["error"]) == (status, said)


async def test_who_is_ending_takes_no_alerts(alerted: tuple[Client, Alerts], plane: Plane) -> None:
    client, intake = alerted
    plane.stopping = True
    answer = await client.post("/alerts", data=b"{}", headers=ALERTMANAGER)
    assert (answer.status, intake.bodies) == (503, [])


async def test_where_there_is_no_alertmanager_and_no_vault_there_is_no_page(client: Client) -> None:
    assert isinstance(client.session, ClientSession)
    for method, path in (("POST", "/alerts"), ("GET", "/secrets/enter/x")):
        assert (await client.request(method, path)).status == 404
