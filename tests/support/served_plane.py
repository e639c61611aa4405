"""The parts behind the appservice server, as a test sets them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp.test_utils import TestClient

from agency.clock import Clock
from agency.control.alerts.delivery import MAX_BODY
from agency.control.appservice.access import OwnNames
from agency.control.appservice.readiness import Numbers
from agency.control.appservice.refusals import Refusals
from agency.control.appservice.server import AppService
from agency.control.appservice.transactions import (
    Intake,
)
from agency.control.conditions import Conditions
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


Client = TestClient[Any, Any]
Put = Callable[..., Any]


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


def numbers_of(text: str) -> dict[str, str]:
    return {
        line.rpartition(" ")[0]: line.rpartition(" ")[2]
        for line in text.splitlines()
        if line and not line.startswith("#")
    }
