"""`GET /ready`: a check of the whole path, from the homeserver to the store and back."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agency import __version__, naming
from agency.clock import Clock, iso
from agency.control.appservice.transactions import Intake
from agency.control.conditions import Condition, Conditions
from agency.control.store import audit, inbox, outbox, schema
from agency.matrix import MatrixError, MatrixSession, client_path
from agency.store import Database

_FRESH_S, _UNWELL_S = 1.0, 0.2
_CALL_TIMEOUT_S = 5.0
_PING = client_path("appservice", naming.APPSERVICE_ID, "ping", version="v1")


@dataclass(frozen=True, slots=True)
class Seen:
    """Observations on the store, or on the path to the homeserver and back, at one time.

    `reasons` are why it is not ready.
    """

    facts: dict[str, Any]
    reasons: tuple[str, ...]
    at: float

    def is_fresh(self, now: float) -> bool:
        """Return whether it still counts; what is wrong is looked at again sooner."""
        return now - self.at <= (_UNWELL_S if self.reasons else _FRESH_S)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers about the path and the store; `outbox` by state, empty without a store.

    `database_s` is the time that a trial of the store took; None if it takes no write.
    """

    ready: bool
    outbox: Mapping[str, int]
    last_transaction_age_s: float | None
    database_s: float | None


@dataclass(slots=True)
class Readiness:
    """Observer of the store and of the homeserver.

    While the homeserver is well, it is asked at most once a second; else five times. The store is
    written to at each call for the details, and as seldom as that for one that asks for a word.
    """

    database: Database
    api: MatrixSession
    intake: Intake
    clock: Clock
    bot_id: str
    room_id: Callable[[], str | None]
    conditions: Conditions
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _route: Seen | None = None
    _kept: Seen | None = None  # of the store

    async def is_ready(self) -> bool:
        """Return whether commands get through. Strangers may ask, as often as they like."""
        async with self._lock:
            route = await self._fresh_route()
            if self._kept is None or not self._kept.is_fresh(self.clock.steady()):
                self._kept = await self._store()
            reasons = route.reasons + self._kept.reasons
        return not reasons and not any(each.blocks for each in self.conditions.present())

    async def numbers(self) -> Numbers:
        """Return the numbers for `/metrics`, at most a second old."""
        ready = await self.is_ready()
        facts = self._kept.facts if self._kept is not None else {}
        took = facts.get("database", {}).get("took_s")
        return Numbers(ready, facts.get("outbox", {}), await self._age(), took)

    async def observe(self) -> dict[str, Any]:
        """Make the body of `/ready`: `ready`, the `reasons` why not, and the observations.

        `warnings` are conditions with which commands still get through; those that a person has
        acknowledged are apart.
        """
        async with self._lock:
            route = await self._fresh_route()
            store = self._kept = await self._store()
        reasons = [*store.reasons, *route.reasons]
        present = self.conditions.present()
        reasons += [_said(each) for each in present if each.blocks]
        warnings = [each for each in present if not each.blocks]
        return {
            "ready": not reasons,
            "reasons": reasons,
            "warnings": [_shown(each) for each in warnings if not each.acknowledged],
            "acknowledged": [_shown(each) for each in warnings if each.acknowledged],
            "versions": {
                "agency": __version__,
                "python": platform.python_version(),
                "schema": schema.REVISION,
            },
            **store.facts,
            **route.facts,
            "last_transaction_age_s": await self._age(),
        }

    async def _fresh_route(self) -> Seen:
        if self._route is None or not self._route.is_fresh(self.clock.steady()):
            self._route = await self._walk()
        return self._route

    async def _store(self) -> Seen:
        begun = self.clock.steady()
        try:
            end = await self.database.write(audit.touch)
            waiting = await self.database.read(inbox.unfinished)
            counts = await self.database.read(outbox.counts)
        except (SQLAlchemyError, OSError) as error:
            reason = f"the database cannot be written: {type(error).__name__}"
            return Seen({"database": {"writable": False}}, (reason,), self.clock.steady())
        facts = {
            "database": {
                "writable": True,
                "took_s": round(self.clock.steady() - begun, 6),
            },
            "audit": {"count": end.sequence, "hash": end.hash},
            "inbox": {"unfinished": waiting},
            "outbox": {str(state): count for state, count in counts.items()},
        }
        return Seen(facts, (), self.clock.steady())

    async def _walk(self) -> Seen:
        """Check the token at the homeserver, its way to this server, and the bot's membership."""
        reasons: list[str] = []
        room = self.room_id()
        seen: dict[str, Any] = {"homeserver": {"reachable": False}, "room": {"id": room}}
        if room is None:  # set-up asks the homeserver already
            return Seen(seen, ("the control room is not set up yet",), self.clock.steady())
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                who = await self.api.request("GET", client_path("account", "whoami"))
                seen["homeserver"] = {"reachable": True, "user": who.get("user_id")}
                if who.get("user_id") != self.bot_id:
                    reasons.append("the homeserver assigns the bot's token to another user")
                seen["homeserver"]["ping_ms"] = await self._ping()
                seen["room"] |= await self._room(room, reasons)
        except MatrixError as error:
            reasons.append(f"homeserver: {error.where}: {error.message}")
        except TimeoutError:
            reasons.append("homeserver: no answer in time")
        return Seen(seen, tuple(reasons), self.clock.steady())

    async def _ping(self) -> int | None:
        """Return the homeserver's time to reach this server, in ms; None if it has no such call."""
        try:
            answer = await self.api.request("POST", _PING, {"transaction_id": "ready"})
        except MatrixError as error:
            if error.errcode == "M_UNRECOGNIZED":
                return None
            raise
        return int(answer.get("duration_ms", 0))

    async def _room(self, room: str, reasons: list[str]) -> dict[str, Any]:
        joined = await self.api.request("GET", client_path("joined_rooms"))
        is_in = room in joined.get("joined_rooms", [])
        if not is_in:
            reasons.append("the bot is not in the control room")
            return {"joined": False}
        encrypted = await self._encrypted(room)
        if encrypted:
            reasons.append("the control room is encrypted; make a new one without encryption")
        return {"joined": True, "encrypted": encrypted}

    async def _encrypted(self, room: str) -> bool:
        try:
            path = client_path("rooms", room, "state", "m.room.encryption")
            await self.api.request("GET", path)
        except MatrixError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _age(self) -> float | None:
        last = self.intake.last_received_ts
        if last is None:
            try:
                last = await self.database.read(inbox.last_transaction_ts)
            except SQLAlchemyError:
                return None
        return None if last is None else round((self.clock.now_ms() - last) / 1000, 3)


def _said(condition: Condition) -> str:
    return condition.text + (f" ({condition.hint})" if condition.hint else "")


def _shown(condition: Condition) -> dict[str, Any]:
    return {
        "code": condition.code.value,
        "subject": condition.subject,
        "text": condition.text,
        "hint": condition.hint,
        "since": iso(condition.since_ms / 1000),
    }
