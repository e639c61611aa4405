"""A control plane that refuses wrong tokens is told from one that refuses everybody."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from agency.clock import Clock
from agency.control.appservice.access import OwnNames
from agency.control.appservice.refusals import Refusals
from agency.control.appservice.server import AppService, build_app
from agency.control.conditions import Conditions
from agency.secrets.values import SecretValue
from agency.spinup.probes.control import refuses_wrong_token
from agency.transcript.rules.v2.judge import PROBES, Verdict

TOKEN = SecretValue("the-homeservers-token")


class Untouched:
    """An intake that nothing may reach."""

    async def take(self, *_: object) -> bool:
        raise AssertionError("a transaction was taken")


async def judged(started_with: SecretValue) -> Verdict:
    """The probe with TOKEN, of a control plane that was started with some token."""

    def nobody(_: str) -> bool:
        return False

    async def nothing(*_: Any) -> Any:
        return {}

    intake: Any = Untouched()
    conditions = Conditions(Clock())
    service = AppService(
        started_with,
        intake,
        1024,
        nobody,
        nobody,
        nothing,
        nothing,
        nothing,
        stopping=lambda: False,
        conditions=conditions,
        refusals=Refusals(conditions),
        names=OwnNames("127.0.0.1"),
        numbers=nothing,
    )
    server = TestServer(build_app(service), host="127.0.0.1")
    await server.start_server()
    try:
        async with aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            seen = await refuses_wrong_token(session, url, TOKEN)
    finally:
        await server.close()
    assert TOKEN.reveal() not in str(seen)
    return PROBES["control.refuses-wrong-token"].judge(seen)


async def test_the_right_token_opens_and_others_do_not() -> None:
    verdict = await judged(TOKEN)
    assert verdict.ok, verdict.reason


@pytest.mark.parametrize("other", ["not-the-token", "another"])
async def test_a_control_plane_with_another_token_is_told(other: str) -> None:
    verdict = await judged(SecretValue(other))
    assert not verdict.ok
