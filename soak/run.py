"""One run: install, soak, let it come to rest, look at each agent, and judge."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp

from soak import plan, strangers
from soak.chaos import Chaos
from soak.client import Client, segment
from soak.driver import Driver
from soak.installation import (
    AGENTS,
    ALIAS,
    BOT,
    DOMAIN,
    OPERATORS,
    STRANGERS,
    Installation,
    install,
)
from soak.journal import Journal
from soak.parts import Part, SoakError, pids_of
from soak.plan import Manner, Step
from soak.verdict import Evidence, Fault, judge


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one run. `calm_s` is the mean time between two disruptions."""

    store: str
    minutes: float
    commands: int
    seed: int
    place: Path
    calm_s: float
    drain_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run: the figures as `soak.jsonl` has them, the faults, and the journal."""

    figures: dict[str, Any]
    faults: list[Fault]
    journal: Journal


async def soak(options: Options) -> Outcome:
    """Make one run and judge it.

    Raises:
        SoakError: a part does not come up, or a task of the run failed.
    """
    options.place.mkdir(parents=True, mode=0o700)
    journal = Journal(options.place / "journal.jsonl")
    installation = install(options.place, options.store, journal)
    chaos = Chaos(installation, journal)
    limit = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=limit) as http:
            for name, part in installation.parts.items():
                part.launch()
                if name != "control":
                    await part.well()
                if name == "synapse":  # operators exist before the control plane invites them
                    operators, others = await _people(installation, http)
            await installation.parts["control"].well()
            rooms = {await client.join(ALIAS) for client in operators}
            (room,) = rooms
            await _let_in(operators[0], others, room)
            driver = Driver(operators, room, journal)
            await driver.begin()
            took = await _soak(options, chaos, driver, others)
            events = [event async for event in operators[0].history(room)]
        evidence = _evidence(installation, events)
    finally:
        await _end(installation)
    faults = judge(journal, evidence)
    return Outcome(_figures(options, chaos, evidence, faults, took), faults, journal)


async def _people(
    installation: Installation, http: aiohttp.ClientSession
) -> tuple[list[Client], list[Client]]:
    clients = [Client(installation.homeserver, http, name) for name in (*OPERATORS, *STRANGERS)]
    for client in clients:
        await client.register(installation.shared_secret)
    return clients[: len(OPERATORS)], clients[len(OPERATORS) :]


async def _let_in(operator: Client, others: list[Client], room: str) -> None:
    """Invite the strangers to the control room: they may talk there, and command nothing."""
    for client in others:
        path = f"/_matrix/client/v3/rooms/{segment(room)}/invite"
        await operator.call("POST", path, {"user_id": f"@{client.name}:{DOMAIN}"})
        await client.join(room)


async def _soak(options: Options, chaos: Chaos, driver: Driver, others: list[Client]) -> float:
    """Let operators, strangers and chaos run; then rest, and look at each agent in peace."""
    steps = plan.steps(options.seed, options.commands, options.minutes, AGENTS)
    parts = (*chaos.installation.parts, "agent")
    begun = time.monotonic()
    until = begun + options.minutes * 60
    every_s = max(0.2, options.minutes * 60 / options.commands)
    draws = [random.Random(f"{who} {options.seed}") for who in STRANGERS]
    flood = [
        strangers.in_the_control_room(others[0], driver.room, draws[0], every_s),
        strangers.in_own_rooms(others[1], draws[1], every_s),
    ]
    async with _beside(driver.follow(), chaos.watch()):
        async with _beside(*flood):
            blows = chaos.run(plan.blows(options.seed, parts, options.calm_s), until)
            await asyncio.gather(driver.run(steps), blows)
        took = time.monotonic() - begun
        await chaos.all_well()
        await driver.drain(options.drain_s)
        await driver.run(_last_looks(options.commands))
        await driver.drain(options.drain_s)
    return took


def _last_looks(number: int) -> list[Step]:
    """Plan the end: each agent is shown as it was left, restarted, shown, stopped, and shown."""
    verbs = ["status", "restart", "status", "stop", "status"]
    return [
        Step(
            number + len(AGENTS) * turn + place + 1,
            turn * 12.0,
            place % len(OPERATORS),
            Manner.PLAIN,
            verb,
            agent,
            f"last{place}" if verb == "restart" else "",
        )
        for turn, verb in enumerate(verbs)
        for place, agent in enumerate(AGENTS)
    ]


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines that never end; the error of one that does ends what goes on meanwhile."""
    tasks = [asyncio.create_task(each) for each in work]
    own = asyncio.current_task()
    errors: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and own is not None:
            errors.append(task.exception() or SoakError("a task of the run ended"))
            own.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if not errors:
            raise
        if isinstance(errors[0], SoakError):
            raise errors[0] from None
        raise SoakError(f"a task of the run ended: {errors[0]!r}") from errors[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _evidence(installation: Installation, events: list[dict[str, Any]]) -> Evidence:
    """Read the audit log by its command, as an auditor does."""
    argv = [sys.executable, "-m", "agency", "audit"]
    where = ["--config", str(installation.config)]
    export = subprocess.run([*argv, "export", *where], check=True, capture_output=True, timeout=300)
    verify = subprocess.run(
        [*argv, "verify", *where], check=False, capture_output=True, timeout=300
    )
    return Evidence(
        room=events,
        audit=[json.loads(line) for line in export.stdout.splitlines()],
        audit_verifies=verify.returncode == 0,
        bot=BOT,
        strangers=frozenset(f"@{name}:{DOMAIN}" for name in STRANGERS),
        agents=AGENTS,
    )


async def _end(installation: Installation) -> None:
    """End every process of the run, also agents that nobody's child is any more."""
    for part in reversed(list(installation.parts.values())):
        await part.end(part.term)
    for name in AGENTS:
        for pid in pids_of(installation.place, f"/{name}/"):
            _ended(pid)


def _ended(pid: int) -> None:
    try:
        subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True, timeout=10)
    except subprocess.TimeoutExpired:
        return


def _figures(
    options: Options, chaos: Chaos, evidence: Evidence, faults: list[Fault], took: float
) -> dict[str, Any]:
    said = chaos.journal.said
    waits = [answer.at - each.sent for each in said if (answer := evidence.answer(each.event_id))]
    cuts = quantiles(waits, n=100) if len(waits) > 1 else [0.0] * 99
    answers = [evidence.answer(each.event_id) for each in said]
    itself: dict[str, int] = {
        part.name: len(part.ended_itself) for part in _parts(chaos) if part.ended_itself
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "store": options.store,
        "homeserver_store": chaos.installation.homeserver_store,
        "seed": options.seed,
        "took_s": round(took, 1),
        "commands": len(said),
        "done": sum(answer is not None and answer.ok for answer in answers),
        "refused_in_the_control_room": sum(
            row["actor"] in evidence.strangers for row in evidence.audit
        ),
        "disruptions": sum(chaos.counts.values()),
        "restarts": dict(sorted(chaos.counts.items())),
        "ended_by_themselves": itself,
        "answer_p50_s": round(cuts[49], 3),
        "answer_p99_s": round(cuts[98], 3),
        **{kind: _commands_of(kind, faults) for kind in ("lost", "doubled", "wrong")},
    }


def _commands_of(kind: str, faults: list[Fault]) -> int:
    """Count the commands with a fault of this kind; a fault of no command counts by itself."""
    mine = [fault for fault in faults if fault.kind == kind]
    return len({fault.said.event_id if fault.said else id(fault) for fault in mine})


def _parts(chaos: Chaos) -> list[Part]:
    return list(chaos.installation.parts.values())
