"""Prices and amounts in whole numbers: tokens, and billionths of a US dollar, rounded up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agency.agent.models.conversation import Usage

NANOS_PER_USD = 1_000_000_000
_MILLION = 1_000_000
LEAST_OUTPUT = 16  # tokens; an answer cut to fewer is of no use


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens and what they cost."""

    tokens: int = 0
    nanos: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.nanos + other.nanos)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that an agent may use: in a day (UTC), and in a calendar month."""

    day: Amount
    month_nanos: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Use by an agent, with what is reserved, in this day and month."""

    day: Amount = Amount()
    month_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of a model: billionths of a US dollar for a million tokens."""

    input: int
    output: int
    cache_read: int
    cache_write: int

    def of(self, usage: Usage, output: int) -> Amount:
        """Compute the amount of a call whose input is known, with this number of output tokens."""
        whole = usage.input or 0
        read = min(usage.cache_read, whole)
        write = min(usage.cache_write, whole - read)
        nanos = (
            (whole - read - write) * self.input
            + read * self.cache_read
            + write * self.cache_write
            + output * self.output
        )
        return Amount(whole + output, _up(nanos))

    @property
    def dearest(self) -> int:
        """The price of input, however it is read."""
        return max(self.input, self.cache_read, self.cache_write)

    def most(self, input_tokens: int, output_tokens: int) -> Amount:
        """Compute the most that a call of these sizes can cost."""
        millionths = input_tokens * self.dearest + output_tokens * self.output
        return Amount(input_tokens + output_tokens, _up(millionths))


def nanos(usd: float) -> int:
    """Convert US dollars; budgets and prices of a configuration are exact to a billionth."""
    return round(usd * NANOS_PER_USD)


def affordable(budget: Budget, spent: Spent, rates: Rates, input_tokens: int, wanted: int) -> int:
    """Compute how many of the wanted output tokens the rest of the budget pays for."""
    tokens = budget.day.tokens - spent.day.tokens - input_tokens
    money = budget.day.nanos - spent.day.nanos
    if budget.month_nanos is not None:
        money = min(money, budget.month_nanos - spent.month_nanos)
    # Input and output are rounded up together, as `most` does.
    left = money * _MILLION - input_tokens * rates.dearest
    if left < 0:
        return 0
    paid = wanted if rates.output == 0 else left // rates.output
    return max(0, min(wanted, tokens, paid))


def _up(millionths: int) -> int:
    return -(-millionths // _MILLION)
