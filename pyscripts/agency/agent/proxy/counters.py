"""Numbers for Prometheus. Labels are agents and models of the configuration, and fixed words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agency.agent.proxy.accounting.pricing import NANOS_PER_USD, Amount
from agency.agent.proxy.gate import Gate

_PREFIX = "agency_model"
OUTCOMES = ("done", "cut", "exceeded", "gone", "provider-error")


@dataclass(slots=True, eq=False)  # a registry holds it by its identity
class Counters(Collector):
    """Counts since the start of the proxy."""

    gate: Gate
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    nanos: Counter[tuple[str, str]] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)

    def call(self, agent: str, model: str, outcome: str, amount: Amount) -> None:
        """Count a call that was settled; `outcome` is one of OUTCOMES."""
        self.calls[agent, model, outcome] += 1
        self.tokens[agent, model] += amount.tokens
        self.nanos[agent, model] += amount.nanos

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        calls = CounterMetricFamily(
            f"{_PREFIX}_calls", "Calls of models.", labels=["agent", "model", "outcome"]
        )
        for labels, number in self.calls.items():
            calls.add_metric(labels, number)
        yield calls
        yield _family("refused", "Refused calls.", ["agent", "reason"], self.refused)
        tokens = "Tokens that count against budgets."
        yield _family("tokens", tokens, ["agent", "model"], self.tokens)
        usd = CounterMetricFamily(
            f"{_PREFIX}_usd", "US dollars that count against budgets.", labels=["agent", "model"]
        )
        for pair, number in self.nanos.items():
            usd.add_metric(pair, number / NANOS_PER_USD)
        yield usd
        redacted = CounterMetricFamily(
            f"{_PREFIX}_redacted", "Texts in which a secret was redacted.", labels=["agent"]
        )
        for agent, number in self.redacted.items():
            redacted.add_metric([agent], number)
        yield redacted
        yield GaugeMetricFamily(
            f"{_PREFIX}_running", "Calls that run now.", value=self.gate.running
        )


def _family(
    name: str, help_: str, labels: list[str], counts: Counter[tuple[str, str]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", help_, labels=labels)
    for pair, number in counts.items():
        family.add_metric(pair, number)
    return family


def exposition(counters: Counters) -> bytes:
    """Write all metrics as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counters)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
