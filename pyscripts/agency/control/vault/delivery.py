"""Delivery of secrets to agents: what each shall hold is compared with what it holds.

    every few seconds, or wake() ──▶ differs, or a lease ends soon ──▶ offer ──▶ the agent redeems
                                                                   └──▶ fails: it keeps the old set

So a rotation, a restart of the agent or of this program, and the end of a lease all heal alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from agency.control.conditions import Code, Conditions
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.vault import rows
from agency.control.vault.cipher import VaultError
from agency.control.vault.desk import Report
from agency.control.vault.leases import Leases, Offer
from agency.errors import AgencyError
from agency.matrix import Backoff

_log = logging.getLogger(__name__)

_AT_ONCE = 8
_ACTION = "secrets deliver"


@dataclass(frozen=True, slots=True)
class Held:
    """A secret that an agent says it holds; `expires_ts` is milliseconds since the epoch."""

    name: str
    version: int
    expires_ts: int


class Agents(Protocol):
    """The running agents, as deliveries use them."""

    async def held(self, agent: str, trace: str) -> tuple[Held, ...] | None:
        """Ask what an agent holds; None if it does not run."""

    async def offer(self, agent: str, offers: tuple[Offer, ...], trace: str) -> tuple[Held, ...]:
        """Offer an agent the whole set; it redeems all of it, or keeps what it has.

        Raises:
            AgencyError: it did not take them.
        """


@dataclass(slots=True)
class _Trouble:
    """Failure to deliver to one agent: how often, what was said, and when to try again."""

    failures: int
    problem: str
    again_s: float


@dataclass(slots=True)
class Delivery:
    """Deliverer. `known` lists the agents that there are."""

    leases: Leases
    agents: Agents
    conditions: Conditions
    known: Callable[[], Collection[str]]
    new_trace: Callable[[], str]
    check_s: float
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, longest_s=300.0))
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _troubles: dict[str, _Trouble] = field(default_factory=dict)

    def wake(self) -> None:
        """Look at every agent soon: what they shall hold has changed."""
        for trouble in self._troubles.values():
            trouble.again_s = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.tend()
                self.conditions.clear(Code.VAULT_UNUSABLE)
            except VaultError as error:
                self.conditions.note(Code.VAULT_UNUSABLE, error.message, hint=error.hint or "")
            except SQLAlchemyError as error:
                _log.warning("cannot look after agents' secrets: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect met in one pass ends no control plane
                _log.exception("agents' secrets could not be looked after")
            try:
                async with asyncio.timeout(self.check_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def tend(self) -> None:
        """Encrypt with the newest master key, and deliver to each agent that lacks something.

        Raises:
            VaultError: the vault cannot be read.
        """
        vault = self.leases.vault
        if await self._old_keys():
            while left := await vault.reencrypt():
                _log.info("encrypting anew", extra={"fields": {"left": left}})
        wanted = await self._wanted()
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(agent: str) -> None:
            async with turn:
                await self._mend(agent, wanted[agent])

        await asyncio.gather(*(one(agent) for agent in wanted))

    async def push(self, agent: str, trace: str) -> Report:
        """Deliver an agent everything that is bound to it, whatever it holds."""
        async with self._lock(agent):
            try:
                held = await self._deliver(agent, trace)
            except AgencyError as error:
                await self._failed(agent, error.message, trace)
                return Report(agent, problem=error.message)
        return Report(agent, tuple((each.name, each.version) for each in held))

    async def _old_keys(self) -> bool:
        vault = self.leases.vault

        def look(connection: Connection) -> bool:
            vault.check(connection)
            return bool(rows.under_other_keys(connection, vault.keys.newest.id, 1))

        return await vault.database.read(look)

    async def _wanted(self) -> dict[str, dict[str, int]]:
        """Return which version of which secrets each agent shall hold.

        One that may hold some and shall not is among them.
        """
        now, known = self.leases.vault.clock.now_ms(), set(self.known())

        def look(connection: Connection) -> dict[str, dict[str, int]]:
            versions = {each.name: each.version for each in rows.all_secrets(connection)}
            wanted: dict[str, dict[str, int]] = {
                agent: {} for agent in rows.holders(connection, now)
            }
            for secret, agent in rows.bindings(connection):
                wanted.setdefault(agent, {})[secret] = versions[secret]
            return {agent: each for agent, each in wanted.items() if agent in known}

        return await self.leases.vault.database.read(look)

    async def _mend(self, agent: str, wanted: dict[str, int]) -> None:
        trouble, clock = self._troubles.get(agent), self.leases.vault.clock
        if trouble is not None and clock.steady() < trouble.again_s:
            return
        trace = self.new_trace()
        async with self._lock(agent):
            try:
                held = await self.agents.held(agent, trace)
                if held is None or self._is_right(held, wanted):
                    self._over(agent)
                    return
                await self._deliver(agent, trace)
            except (VaultError, SQLAlchemyError):
                raise  # of every agent
            except AgencyError as error:
                await self._failed(agent, error.message, trace)
            except Exception as error:  # noqa: BLE001 - what one agent says hides no other
                _log.exception("the secrets of %s could not be looked after", agent)
                await self._failed(agent, f"the control plane met a {type(error).__name__}", trace)

    def _is_right(self, held: tuple[Held, ...], wanted: dict[str, int]) -> bool:
        """Return whether an agent holds what it shall, for a third of a lease at least."""
        soon = self.leases.vault.clock.now_ms() + int(self.leases.lease_s * 1000 / 3)
        return {each.name: each.version for each in held} == wanted and all(
            each.expires_ts > soon for each in held
        )

    async def _deliver(self, agent: str, trace: str) -> tuple[Held, ...]:
        offers = await self.leases.offer(agent)
        held = await self.agents.offer(agent, offers, trace)
        told = {each.name: each.version for each in held}
        if told != {each.secret: each.version for each in offers}:
            raise AgencyError(f"{agent} says that it holds something else than it was given")
        detail = audit.audit_detail(held=", ".join(f"{n} {v}" for n, v in sorted(told.items())))
        await self._record(AuditEntry(trace, audit.SYSTEM, _ACTION, agent, Outcome.DONE, detail))
        self._over(agent)
        return held

    async def _failed(self, agent: str, problem: str, trace: str) -> None:
        """Note that an agent keeps its old set; on record when the reason is another one."""
        before = self._troubles.get(agent)
        failures = 1 if before is None else before.failures + 1
        again_s = self.leases.vault.clock.steady() + self.backoff.delay_s(failures)
        self._troubles[agent] = _Trouble(failures, problem, again_s)
        self.conditions.note(
            Code.SECRETS_UNDELIVERED,
            f"{agent} did not get its secrets, and keeps those that it held: {problem}",
            subject=agent,
            hint=f"it is tried again by itself; !agency secrets push {agent} tries it now",
        )
        if before is None or before.problem != problem:
            detail = audit.audit_detail(why=problem)
            await self._record(
                AuditEntry(trace, audit.SYSTEM, _ACTION, agent, Outcome.FAILED, detail)
            )

    def _over(self, agent: str) -> None:
        self._troubles.pop(agent, None)
        self.conditions.clear(Code.SECRETS_UNDELIVERED, agent)

    async def _record(self, entry: AuditEntry) -> None:
        vault = self.leases.vault
        await vault.database.write(lambda c: audit.append(c, vault.clock, entry))

    def _lock(self, agent: str) -> asyncio.Lock:
        return self._locks.setdefault(agent, asyncio.Lock())
