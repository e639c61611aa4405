"""Alerts over a real socket: taken from Alertmanager alone, bounded, and answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from served_plane import RIGHT, Client, Plane, numbers_of, told
from sqlalchemy.exc import OperationalError

from agency.control.alerts.delivery import MAX_BODY, MalformedAlertsError
from agency.control.alerts.intake import BusyError
from agency.control.appservice.alerts import AlertsPage
from agency.control.appservice.server import build_app
from agency.secrets import SecretValue


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
