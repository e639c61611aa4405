"""Ledger of the agents' use of models: reserved before a call, settled after it.

    reserve ─▶ row in `reserved`, on disk ─▶ call ─▶ settle: row out, its true amount into `used`
                        │
                        └ killed before: at the next start the whole row goes into `used`

What counts against a budget is `used` and `reserved` together, so that it is never less than what
was used.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from agency.agent.proxy.accounting.pricing import (
    LEAST_OUTPUT,
    Amount,
    Budget,
    Rates,
    Spent,
    affordable,
)
from agency.clock import Clock, new_id
from agency.errors import PrerequisiteError
from agency.store import Database, Holder, Schema, hold, migrate, open_database, parse_url

_log = logging.getLogger(__name__)

SCHEMA = Schema("agency.agent.proxy.accounting:migrations", ("0001",))
_KEPT_DAYS = 400

_SUM = (
    "SELECT coalesce(sum(tokens), 0), coalesce(sum(nanos), 0) FROM {table} "
    "WHERE agent = :agent AND day LIKE :period"
)
_ADD = text(
    "INSERT INTO used (agent, day, calls, tokens, nanos) "
    "VALUES (:agent, :day, 1, :tokens, :nanos) ON CONFLICT (agent, day) DO UPDATE SET "
    "calls = calls + 1, tokens = tokens + excluded.tokens, nanos = nanos + excluded.nanos"
)
_RESERVE = text(
    "INSERT INTO reserved (id, agent, day, tokens, nanos) "
    "VALUES (:id, :agent, :day, :tokens, :nanos)"
)
# The days that were first used last, in the order of their rows: whatever the clock says at this
# start, or said before, is no reason to forget what was used.
_FORGET = text(
    "DELETE FROM used WHERE day NOT LIKE :month AND day NOT IN "
    "(SELECT day FROM used GROUP BY day ORDER BY max(rowid) DESC LIMIT :kept)"
)
_SUMS = {name: text(_SUM.format(table=name)) for name in ("used", "reserved")}


class LedgerError(PrerequisiteError):
    """Ledger that cannot be read or written: then no call is made."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that is planned: the bound of its input, and the output tokens that are wanted.

    `choices` answers are made at once, each with as many output tokens. With `shorten`, fewer
    output tokens than wanted are better than none.
    """

    agent: str
    rates: Rates
    input_tokens: int
    output_tokens: int
    choices: int = 1
    shorten: bool = True


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that is paid for: `output_tokens` for each choice, `amount` for all."""

    id: str
    wish: Wish
    output_tokens: int
    amount: Amount


class Ledger:
    """An open ledger; one process holds it."""

    def __init__(
        self, database: Database, clock: Clock, make_id: Callable[[], str] | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._make_id = make_id or (lambda: new_id("call"))

    async def adopt(self) -> int:
        """Count whole what an earlier process left reserved; return the number of calls."""

        def work(connection: Connection) -> int:
            rows = connection.execute(text("SELECT agent, day, tokens, nanos FROM reserved")).all()
            for agent, day, tokens, cost in rows:
                connection.execute(
                    _ADD, {"agent": agent, "day": day, "tokens": tokens, "nanos": cost}
                )
            connection.execute(text("DELETE FROM reserved"))
            month = _month(_day(self._clock))
            connection.execute(_FORGET, {"month": month, "kept": _KEPT_DAYS})
            return len(rows)

        with _told():
            return await self._database.write(work)

    async def reserve(self, wish: Wish, budget: Budget) -> Reservation | None:
        """Reserve a call; None if the rest of the budget does not pay for it.

        It is on disk when this returns.
        """
        day = _day(self._clock)
        name = self._make_id()

        def work(connection: Connection) -> Reservation | None:
            spent = _spent(connection, wish.agent, day)
            wanted = wish.output_tokens * wish.choices
            paid = affordable(budget, spent, wish.rates, wish.input_tokens, wanted)
            each = paid // wish.choices
            least = min(wish.output_tokens, LEAST_OUTPUT) if wish.shorten else wish.output_tokens
            if each < least:
                return None
            amount = wish.rates.most(wish.input_tokens, each * wish.choices)
            row = {"id": name, "agent": wish.agent, "day": day}
            connection.execute(_RESERVE, {**row, "tokens": amount.tokens, "nanos": amount.nanos})
            return Reservation(name, wish, each, amount)

        with _told():
            return await self._database.write(work)

    async def settle(self, reservation: Reservation, amount: Amount) -> None:
        """Replace a reservation by what was used, on the day on which it was made."""

        def work(connection: Connection) -> None:
            gone = connection.execute(
                text("DELETE FROM reserved WHERE id = :id RETURNING day"), {"id": reservation.id}
            ).scalar()
            if gone is None:
                return  # settled before
            row = {"agent": reservation.wish.agent, "day": gone}
            connection.execute(_ADD, {**row, "tokens": amount.tokens, "nanos": amount.nanos})

        # A power cut undoes it at worst, and the reservation counts whole again.
        with _told():
            await self._database.write(work, flush=False)

    async def spent(self, agent: str) -> Spent:
        """Sum up what counts against an agent's budget now."""
        day = _day(self._clock)
        with _told():
            return await self._database.read(lambda connection: _spent(connection, agent, day))


@asynccontextmanager
async def open_ledger(path: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Open the ledger in a SQLite file, and count what was left reserved.

    Raises:
        PrerequisiteError: another process holds it, or it cannot be opened.
    """
    async with hold(parse_url(str(path)), Holder.here(path.parent)):
        database = open_database(str(path))
        try:
            await migrate(database, SCHEMA)
            ledger = Ledger(database, clock)
            if left := await ledger.adopt():
                _log.warning(
                    "calls of an earlier run count whole", extra={"fields": {"calls": left}}
                )
            yield ledger
        finally:
            await database.close()


def _spent(connection: Connection, agent: str, day: str) -> Spent:
    sums = {}
    for period in (day, _month(day)):
        rows = [
            connection.execute(each, {"agent": agent, "period": period}).one()
            for each in _SUMS.values()
        ]
        sums[period] = Amount(sum(row[0] for row in rows), sum(row[1] for row in rows))
    of_day, of_month = sums.values()
    return Spent(of_day, of_month.nanos)


def _day(clock: Clock) -> str:
    return clock.now_iso()[:10]


def _month(day: str) -> str:
    """Return the pattern of the days of a day's month."""
    return day[:7] + "-%"


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors of the database into LedgerError; a query's parameters are not shown."""
    try:
        yield
    except DBAPIError as error:
        raise LedgerError(
            f"the ledger cannot be used: {error.orig}",
            where="ledger",
            hint="free disk space, and check that the proxy's user may write its directory",
        ) from error
