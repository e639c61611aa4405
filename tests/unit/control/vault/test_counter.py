"""The socket at which one agent redeems: who it answers, and what it puts on record."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from vaulting import CANARY, Safe, wanted

from agency.clock import Clock
from agency.control.entrance.counter import Counter, serve
from agency.control.vault.leases import Offer
from agency.errors import PrerequisiteError
from agency.protocols import RedemptionLostError, RedemptionRefusedError, redeem
from agency.secrets import SecretValue

TOKENS = {"pm": "acp-token-of-pm", "developer": "acp-token-of-developer"}


class Counters:
    """The sockets of two agents; both have the secret, and pm an offer of it."""

    def __init__(self, safe: Safe, place: Path, clock: Clock) -> None:
        self.safe, self.place = safe, place
        self.running: dict[str, str] = dict(TOKENS)
        self.counters = {
            agent: Counter(
                agent,
                safe.leases(),
                clock,
                token=lambda agent=agent: self.running.get(agent),  # type: ignore[misc]
                new_trace=lambda: "t-1",
            )
            for agent in TOKENS
        }
        self.offers: dict[str, Offer] = {}

    async def ask(self, at: str = "pm", offer: str = "pm", who: str = "pm", token: str = "") -> str:
        made = self.offers[offer]
        path = self.place / at / "redeem.sock"
        lease_token = token or made.token.reveal()
        value = await redeem(path, made.lease, lease_token, TOKENS[who])
        return value.get_secret_value()

    async def rows(self) -> list[tuple[Any, ...]]:
        return await self.safe.rows(
            "SELECT actor, target, outcome, detail FROM audit WHERE action = 'secrets redeem'"
        )


@pytest.fixture
async def counters(safe: Safe, tmp_path: Path, clock: Clock) -> AsyncIterator[Counters]:
    made = Counters(safe, tmp_path / "redeem", clock)
    await safe.vault().put(wanted(), SecretValue(CANARY))
    for agent in TOKENS:
        await safe.vault().bind("github", agent, "@alice:x.org")
        (made.offers[agent],) = await safe.leases().offer(agent)
    pm, developer = (
        serve(made.counters[a], tmp_path / "redeem" / a / "redeem.sock", shown=False)
        for a in TOKENS
    )
    async with pm, developer:
        yield made


async def test_an_agent_redeems_its_own_and_that_is_on_record(counters: Counters) -> None:
    assert await counters.ask() == CANARY
    ((actor, target, outcome, detail),) = await counters.rows()
    assert (actor, target, outcome) == ("agent:pm", "secret github", "done")
    assert counters.offers["pm"].lease in detail
    assert CANARY not in detail
    assert counters.offers["pm"].token.reveal() not in detail


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        ({"who": "developer"}, "not that of the agent that runs"),
        ({"at": "developer"}, "not that of the agent that runs"),
        ({"at": "developer", "who": "developer"}, "no such lease of developer"),
        ({"offer": "developer"}, "no such lease of pm"),
        ({"token": "a-guessed-token"}, "does not belong"),
    ],
    ids=["another's socket", "at another's", "another's lease", "for another", "a guess"],
)
async def test_another_agent_gets_nothing_and_uses_nothing_up(
    counters: Counters, ask: dict[str, str], why: str
) -> None:
    with pytest.raises(RedemptionRefusedError, match=why) as caught:
        await counters.ask(**ask)
    assert CANARY not in str(caught.value)
    assert await counters.ask() == CANARY
    assert [row[2] for row in await counters.rows()] == ["refused", "done"]


async def test_played_again_it_is_refused(counters: Counters) -> None:
    await counters.ask()
    with pytest.raises(RedemptionRefusedError, match="redeemed before"):
        await counters.ask()


async def test_many_at_once_get_one_value(counters: Counters) -> None:
    done = await asyncio.gather(*(counters.ask() for _ in range(20)), return_exceptions=True)
    assert [each for each in done if not isinstance(each, Exception)] == [CANARY]
    assert all(isinstance(each, str | RedemptionRefusedError) for each in done)


async def test_an_agent_that_has_ended_redeems_nothing(counters: Counters) -> None:
    del counters.running["pm"]
    with pytest.raises(RedemptionRefusedError, match="agent that runs"):
        await counters.ask()


async def test_refusals_fill_no_log(counters: Counters, held: Any) -> None:
    for _ in range(30):
        with pytest.raises(RedemptionRefusedError):
            await counters.ask(token="a-guessed-token")
    assert len(await counters.rows()) == 1
    held.seconds += 61
    with pytest.raises(RedemptionRefusedError):
        await counters.ask(token="a-guessed-token")
    assert len(await counters.rows()) == 2


@pytest.mark.parametrize("admitted", [True, False])
async def test_on_a_host_the_kernel_says_who_asks(
    counters: Counters, monkeypatch: pytest.MonkeyPatch, admitted: bool
) -> None:
    counters.counters["pm"].uid = 4242
    seen = 4242 if admitted else 4243
    monkeypatch.setattr("agency.control.entrance.counter.peer_uid", lambda _socket: seen)
    if admitted:
        assert await counters.ask() == CANARY
        return
    with pytest.raises(RedemptionRefusedError, match="socket of another user"):
        await counters.ask()


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[1]\n", b"x" * 100_000 + b"\n", b'{"version":2}\n']
)
async def test_what_is_no_redemption_is_refused(counters: Counters, line: bytes) -> None:
    path = counters.place / "pm" / "redeem.sock"
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    answer = await reader.read()
    assert b"not a redemption" in answer or answer == b""
    writer.close()
    assert await counters.ask() == CANARY


async def test_the_socket_and_its_directory_are_closed(counters: Counters) -> None:
    path = counters.place / "pm" / "redeem.sock"
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    assert oct(path.stat().st_mode & 0o777) == "0o600"


async def test_one_that_is_shown_to_another_user_is_open_there_alone(
    safe: Safe, tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "host" / "pm" / "redeem.sock"
    counter = Counter("pm", safe.leases(), clock, lambda: None, lambda: "t-1")
    before = os.umask(0o077)  # as the control plane has it
    try:
        async with serve(counter, path, shown=True):
            assert oct(path.stat().st_mode & 0o777) == "0o666"
            assert oct(path.parent.stat().st_mode & 0o777) == "0o755"
            assert oct(path.parent.parent.stat().st_mode & 0o777) == "0o700"
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_place_that_cannot_be_made_is_an_error_with_its_path(
    safe: Safe, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "file").write_text("in the way")
    counter = Counter("pm", safe.leases(), clock, lambda: None, lambda: "t-1")
    for shown in (True, False):
        with pytest.raises(PrerequisiteError, match="cannot write"):
            async with serve(counter, tmp_path / "file" / "pm" / "redeem.sock", shown=shown):
                pass


async def test_without_a_control_plane_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(RedemptionLostError, match="does not answer") as caught:
        await redeem(tmp_path / "redeem.sock", "lease-1", "token-of-the-lease", "acp-token")
    assert "token" not in caught.value.message
