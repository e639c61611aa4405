"""Deliveries: what an agent shall hold is compared with what it holds, and mended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from vaulting import CANARY, Safe, entry, master_key, wanted

from agency.control.conditions import Code, Conditions
from agency.control.vault.cipher import KeyLostError
from agency.control.vault.delivery import Delivery, Held
from agency.control.vault.leases import Leases, Offer
from agency.errors import AgencyError
from agency.matrix import Backoff
from agency.secrets import SecretValue


@dataclass
class Fleet:
    """Agents that redeem what they are offered, unless a test says otherwise."""

    leases: Leases
    running: set[str] = field(default_factory=lambda: {"pm", "developer"})
    holds: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    offered: list[str] = field(default_factory=list)
    fails: str = ""

    async def held(self, agent: str, _trace: str) -> tuple[Held, ...] | None:
        return self.told(agent) if agent in self.running else None

    def told(self, agent: str) -> tuple[Held, ...]:
        return tuple(Held(n, v, ends) for n, (v, ends) in self.holds.get(agent, {}).items())

    async def offer(self, agent: str, offers: tuple[Offer, ...], _trace: str) -> tuple[Held, ...]:
        self.offered.append(agent)
        if self.fails:
            raise AgencyError(self.fails)
        for each in offers:
            await self.leases.redeem(agent, each.lease, each.token, entry)
        self.holds[agent] = {each.secret: (each.version, each.expires_ts) for each in offers}
        return self.told(agent)


class Post:
    """A delivery over two agents."""

    def __init__(self, safe: Safe, conditions: Conditions) -> None:
        self.safe, self.conditions = safe, conditions
        self.fleet = Fleet(safe.leases())
        self.start()

    def start(self, *keys: str) -> None:
        self.fleet.leases = self.safe.leases(self.safe.vault(*keys))
        self.delivery = Delivery(
            leases=self.fleet.leases,
            agents=self.fleet,
            conditions=self.conditions,
            known=lambda: ("pm", "developer"),
            new_trace=lambda: "t-1",
            check_s=1.0,
            backoff=Backoff(first_s=10.0, longest_s=100.0, jitter=lambda: 1.0),
        )

    async def make(self, name: str = "github", version: int = 1, *agents: str) -> None:
        await self.safe.vault().put(wanted(name, version=version), SecretValue(CANARY))
        for agent in agents:
            await self.safe.vault().bind(name, agent, "@alice:x.org")

    def versions(self, agent: str = "pm") -> dict[str, int]:
        return {each.name: each.version for each in self.fleet.told(agent)}

    def warned(self) -> list[str]:
        return [
            each.subject
            for each in self.conditions.present()
            if each.code is Code.SECRETS_UNDELIVERED
        ]

    async def outcomes(self) -> list[str]:
        rows = await self.safe.rows("SELECT outcome FROM audit WHERE action = 'secrets deliver'")
        return [row[0] for row in rows]


@pytest.fixture
def post(safe: Safe) -> Post:
    return Post(safe, Conditions(safe.clock))


async def test_each_agent_gets_what_is_bound_to_it_once(post: Post) -> None:
    await post.make("github", 1, "pm")
    await post.make("gitlab", 1, "pm", "developer")
    for _ in range(3):
        await post.delivery.tend()
    assert post.versions("pm") == {"github": 1, "gitlab": 1}
    assert post.versions("developer") == {"gitlab": 1}
    assert sorted(post.fleet.offered) == ["developer", "pm"]
    assert await post.outcomes() == ["done", "done"]


async def test_who_has_nothing_bound_is_not_even_asked(post: Post) -> None:
    await post.make()
    await post.delivery.tend()
    assert post.fleet.offered == []


async def test_a_rotation_a_restart_and_an_unbinding_heal_by_themselves(post: Post) -> None:
    await post.make("github", 1, "pm")
    await post.delivery.tend()
    await post.make("github", 2)
    await post.delivery.tend()
    assert post.versions() == {"github": 2}
    post.fleet.holds.clear()  # the agent began anew
    await post.delivery.tend()
    assert post.versions() == {"github": 2}
    await post.safe.vault().unbind("github", "pm")
    await post.delivery.tend()
    assert post.versions() == {}
    assert len(post.fleet.offered) == 4


async def test_an_erased_secret_is_taken_back_after_a_restart_of_ours(post: Post) -> None:
    await post.make("github", 1, "pm")
    await post.delivery.tend()
    await post.safe.vault().delete("github")
    post.start()
    await post.delivery.tend()
    assert post.versions() == {}


@pytest.mark.parametrize(("seconds", "offers"), [(2000, 1), (2500, 2)])
async def test_a_lease_is_renewed_in_its_last_third(
    post: Post, held: Any, seconds: int, offers: int
) -> None:
    await post.make("github", 1, "pm")
    await post.delivery.tend()
    held.seconds += seconds
    await post.delivery.tend()
    assert len(post.fleet.offered) == offers


async def test_who_does_not_run_gets_it_when_it_does(post: Post) -> None:
    await post.make("github", 1, "pm")
    post.fleet.running.clear()
    await post.delivery.tend()
    assert (post.fleet.offered, post.warned()) == ([], [])
    post.fleet.running.add("pm")
    await post.delivery.tend()
    assert post.versions() == {"github": 1}


async def test_a_failure_keeps_the_old_set_and_is_said_once(post: Post, held: Any) -> None:
    await post.make("github", 1, "pm")
    await post.delivery.tend()
    await post.make("github", 2)
    post.fleet.fails = "it could not redeem github"
    for _ in range(5):
        held.seconds += 1000  # longer than any wait
        await post.delivery.tend()
    assert post.versions() == {"github": 1}
    assert post.warned() == ["pm"]
    assert await post.outcomes() == ["done", "failed"]
    assert len(post.fleet.offered) == 6
    await post.delivery.tend()
    assert len(post.fleet.offered) == 6  # not before its time
    post.fleet.fails = ""
    post.delivery.wake()
    await post.delivery.tend()
    assert (post.versions(), post.warned()) == ({"github": 2}, [])


async def test_an_agent_that_lies_about_what_it_holds_is_not_believed(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post.make("github", 1, "pm")
    monkeypatch.setattr(post.fleet, "told", lambda _agent: ())
    report = await post.delivery.push("pm", "t-1")
    assert "says that it holds something else" in report.problem
    assert post.warned() == ["pm"]


async def test_a_push_delivers_what_is_held_already(post: Post) -> None:
    await post.make("github", 1, "pm")
    await post.delivery.tend()
    report = await post.delivery.push("pm", "t-1")
    assert (report.held, report.problem) == ((("github", 1),), "")
    assert post.fleet.offered == ["pm", "pm"]


async def test_one_agent_that_fails_does_not_hold_up_another(post: Post) -> None:
    await post.make("github", 1, "pm", "developer")
    offer = post.fleet.offer

    async def only_developer(agent: str, offers: tuple[Offer, ...], trace: str) -> Any:
        if agent == "pm":
            raise AgencyError("it hangs")
        return await offer(agent, offers, trace)

    post.fleet.offer = only_developer  # type: ignore[method-assign]
    await post.delivery.tend()
    assert post.versions("developer") == {"github": 1}
    assert post.warned() == ["pm"]


async def test_a_defect_met_by_one_agent_is_its_own_alone(post: Post) -> None:
    await post.make("github", 1, "pm", "developer")
    held = post.fleet.held

    async def odd(agent: str, trace: str) -> Any:
        if agent == "pm":
            raise ValueError("Invalid isoformat string")
        return await held(agent, trace)

    post.fleet.held = odd  # type: ignore[method-assign]
    await post.delivery.tend()
    assert (post.versions("developer"), post.warned()) == ({"github": 1}, ["pm"])
    assert "failed" in await post.outcomes()
    post.fleet.held = held  # type: ignore[method-assign]
    post.delivery.wake()
    await post.delivery.tend()
    assert (post.versions(), post.warned()) == ({"github": 1}, [])


async def test_a_defect_met_in_one_pass_ends_no_delivery(post: Post) -> None:
    await post.make("github", 1, "pm")
    passes, tend, second = [ValueError("odd")], post.delivery.tend, asyncio.Event()

    @dataclass(slots=True)
    class Meeting(Delivery):
        async def tend(self) -> None:
            if passes:
                raise passes.pop()
            await tend()
            second.set()

    meeting = Meeting(
        leases=post.fleet.leases,
        agents=post.fleet,
        conditions=post.conditions,
        known=lambda: ("pm",),
        new_trace=lambda: "t-1",
        check_s=0.01,
    )
    running, waiting = asyncio.create_task(meeting.run()), asyncio.create_task(second.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    waiting.cancel()
    ended, _ = await asyncio.gather(running, waiting, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    assert post.versions() == {"github": 1}


async def test_a_new_master_key_is_put_to_use_and_a_lost_one_is_said(post: Post) -> None:
    for number in range(25):
        await post.make(f"secret-{number}", 1, "pm")
    new = master_key()
    post.start(new, post.safe.key)
    await post.delivery.tend()
    keys = await post.safe.rows("SELECT DISTINCT key_id FROM secrets")
    assert keys == [(post.safe.vault(new).keys.newest.id,)]
    assert len(post.versions()) == 25
    post.start(post.safe.key)
    with pytest.raises(KeyLostError):
        await post.delivery.tend()
