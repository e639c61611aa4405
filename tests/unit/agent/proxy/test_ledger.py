"""The ledger: it never counts less than what was used, whatever is killed and when."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import text

from agency.agent.models.conversation import Usage
from agency.agent.proxy.accounting.ledger import LedgerError, Reservation, Wish, open_ledger
from agency.agent.proxy.accounting.pricing import (
    LEAST_OUTPUT,
    Amount,
    Budget,
    Rates,
    Spent,
    affordable,
    nanos,
)
from agency.clock import Clock
from agency.errors import PrerequisiteError

RATES = Rates(nanos(1), nanos(2), nanos(0.5), nanos(1.25))
BUDGET = Budget(Amount(1000, nanos(0.0015)), nanos(0.002))
DAY_S = 86_400.0


class Accounting(RuleBasedStateMachine):
    """Reserve, use, settle, and kill at any step; another process goes on with the file."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="agency-ledger-"))
        self.now = 1_700_000_000.0
        self.open: list[tuple[Reservation, str]] = []
        self.true: dict[str, Amount] = {}  # what was really used, by day
        self.reserved: dict[str, Amount] = {}  # the most that may be counted, by day
        self._start()

    def _run(self, work):
        return self.loop.run_until_complete(work)

    def _start(self) -> None:
        clock = Clock(wall=lambda: self.now)
        self.context = open_ledger(self.directory / "ledger.db", clock)
        self.ledger = self._run(self.context.__aenter__())

    @property
    def day(self) -> str:
        return Clock(wall=lambda: self.now).now_iso()[:10]

    @rule(size=st.integers(0, 400), output=st.integers(1, 400), choices=st.integers(1, 3))
    def reserve(self, size: int, output: int, choices: int) -> None:
        wish = Wish("pm", RATES, size, output, choices)
        before = self._run(self.ledger.spent("pm"))
        made = self._run(self.ledger.reserve(wish, BUDGET))
        if made is None:
            least = min(output, LEAST_OUTPUT) * choices
            assert affordable(BUDGET, before, RATES, size, output * choices) < least
            return
        assert 1 <= made.output_tokens <= output
        self.open.append((made, self.day))
        self.reserved[self.day] = self.reserved.get(self.day, Amount()) + made.amount

    @precondition(lambda self: self.open)
    @rule(data=st.data(), killed=st.booleans())
    def use(self, data, killed: bool) -> None:
        """A call ends: with usage within its reservation, settled or killed before."""
        made, day = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        used_in = data.draw(st.integers(0, made.wish.input_tokens))
        used_out = data.draw(st.integers(0, made.output_tokens * made.wish.choices))
        amount = RATES.of(Usage(used_in, used_out), used_out)
        self.true[day] = self.true.get(day, Amount()) + amount
        if not killed:
            self._run(self.ledger.settle(made, amount))
            self._run(self.ledger.settle(made, amount))  # a second time changes nothing
        else:
            self._killed(keep=made)

    @rule()
    def restart(self) -> None:
        self._killed(keep=None)

    def _killed(self, keep: Reservation | None) -> None:
        """The process is gone, and nothing that it had in memory was written."""
        for made, day in self.open:
            self.true[day] = self.true.get(day, Amount()) + made.amount
        self.open = []
        self._run(self.context.__aexit__(None, None, None))
        self._start()

    @rule(days=st.sampled_from([-401, -1, 1, 31, 401]))
    def clock_jumps(self, days: int) -> None:
        self.now += days * DAY_S

    @invariant()
    def counts_what_was_used_and_no_more_than_the_budget(self) -> None:
        used = self.true.get(self.day, Amount())
        spent = self._run(self.ledger.spent("pm"))
        assert used.tokens <= spent.day.tokens <= BUDGET.day.tokens
        assert used.nanos <= spent.day.nanos <= BUDGET.day.nanos
        most = self.reserved.get(self.day, Amount())
        assert spent.day.tokens <= most.tokens
        assert spent.day.nanos <= spent.month_nanos

    def teardown(self) -> None:
        self._run(self.context.__aexit__(None, None, None))
        self.loop.close()
        shutil.rmtree(self.directory)


Accounting.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestAccounting = Accounting.TestCase


@given(
    st.integers(0, 3000),
    st.integers(0, 10**7),
    st.integers(0, 3000),
    st.integers(1, 3000),
    st.sampled_from([RATES, Rates(0, 0, 0, 0), Rates(7, 11, 3, 13), Rates(0, nanos(75), 0, 0)]),
)
@example(0, 9_999_999, 1, 1, Rates(7, 11, 3, 13))  # less than a billionth, rounded up once
def test_what_is_affordable_fits_and_one_more_does_not(tokens, money, size, wanted, rates):
    budget, spent = Budget(Amount(3000, 10**7), 10**7), Spent(Amount(tokens, money), money)
    paid = affordable(budget, spent, rates, size, wanted)
    assert 0 <= paid <= wanted
    if paid:
        assert _fits(budget, spent, rates.most(size, paid))
    if paid < wanted:
        assert not _fits(budget, spent, rates.most(size, paid + 1))


def _fits(budget: Budget, spent: Spent, amount: Amount) -> bool:
    whole = spent.day + amount
    return whole.tokens <= budget.day.tokens and whole.nanos <= min(
        budget.day.nanos, budget.month_nanos or 0
    )


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_usage_costs_more_than_what_is_reserved_for_its_size(size, read, write, output):
    usage = Usage(size, output, read, write)
    used, most = RATES.of(usage, output), RATES.most(size, output)
    assert used.tokens == most.tokens
    assert used.nanos <= most.nanos


async def test_money_is_rounded_up():
    assert Rates(1, 1, 1, 1).of(Usage(1, 0), 0).nanos == 1


async def test_calls_at_one_time_do_not_share_what_is_left(tmp_path):
    async with open_ledger(tmp_path / "ledger.db", Clock()) as ledger:
        wish = Wish("pm", RATES, 100, 200, shorten=False)
        made = await asyncio.gather(*(ledger.reserve(wish, BUDGET) for _ in range(20)))
        assert sum(each is not None for each in made) == 2
        other = Wish("developer", RATES, 100, 200)
        assert await ledger.reserve(other, BUDGET) is not None


async def test_a_month_is_a_budget_of_its_own(tmp_path):
    now = [1_700_000_000.0]  # 14 November
    async with open_ledger(tmp_path / "ledger.db", Clock(wall=lambda: now[0])) as ledger:
        wish = Wish("pm", RATES, 300, 300, shorten=False)
        days = []
        for _ in range(20):
            days.append(await ledger.reserve(wish, BUDGET) is not None)
            now[0] += DAY_S
        assert days[:17] == [True, True] + [False] * 15
        assert days[17:] == [True, True, False]


async def test_one_process_holds_it(tmp_path):
    path = tmp_path / "ledger.db"
    async with open_ledger(path, Clock()):
        with pytest.raises(PrerequisiteError, match="held by process"):
            async with open_ledger(path, Clock()):
                pass


@pytest.mark.parametrize("days", [3, 401, 4000, -4000])
async def test_a_clock_that_jumps_and_comes_back_gives_no_day_twice(tmp_path, days):
    """Also through a restart, at which old days are dropped, and when it is used meanwhile."""
    now = [1_700_000_000.0]
    clock = Clock(wall=lambda: now[0])
    wish = Wish("pm", RATES, 1, 1)
    most = replace(BUDGET, day=replace(BUDGET.day, tokens=5))
    for jump, pays in ((0, True), (days, True), (-days, False), (days, False), (1, True)):
        now[0] += jump * DAY_S
        async with open_ledger(tmp_path / "ledger.db", clock) as ledger:
            granted = [await ledger.reserve(wish, most) is not None for _ in range(4)]
            spent = (await ledger.spent("pm")).day.tokens
            assert (any(granted), spent) == (pays, 4), "each day pays once"


async def test_a_start_with_the_clock_far_ahead_pays_no_day_twice(tmp_path):
    """Nothing is used there: the start alone must not forget the day."""
    now = [1_700_000_000.0]
    most = replace(BUDGET, day=replace(BUDGET.day, tokens=2))
    granted = []
    for jump in (0, 401, -401):
        now[0] += jump * DAY_S
        async with open_ledger(tmp_path / "ledger.db", Clock(wall=lambda: now[0])) as ledger:
            if jump <= 0:
                granted.append(await ledger.reserve(Wish("pm", RATES, 1, 1), most) is not None)
    assert granted == [True, False]


async def test_old_days_are_dropped(tmp_path):
    """By their number: the 400 that were used last stay."""
    now = [1_700_000_000.0]
    clock = Clock(wall=lambda: now[0])
    days = []
    async with open_ledger(tmp_path / "ledger.db", clock) as ledger:
        for _ in range(403):
            await ledger.reserve(Wish("pm", RATES, 1, 1), BUDGET)
            days.append(clock.now_iso()[:10])
            now[0] += DAY_S
    for _ in range(2):
        async with open_ledger(tmp_path / "ledger.db", clock) as ledger:
            rows = await ledger._database.read(
                lambda c: c.execute(text("SELECT day FROM used ORDER BY day")).scalars().all()
            )
            assert rows == days[-400:]


async def test_a_ledger_that_cannot_be_written_says_so(tmp_path):
    async with open_ledger(tmp_path / "ledger.db", Clock()) as ledger:
        await ledger._database.write(lambda c: c.execute(text("DROP TABLE used")))
        with pytest.raises(LedgerError, match="cannot be used"):
            await ledger.reserve(Wish("pm", RATES, 1, 1), BUDGET)
        with pytest.raises(LedgerError):
            await ledger.spent("pm")
