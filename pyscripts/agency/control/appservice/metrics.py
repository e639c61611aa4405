"""`GET /metrics`: numbers for Prometheus. Labels are of a few fixed words: no ids, no names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agency.control.appservice.readiness import Numbers
from agency.control.appservice.refusals import Refusals, Refused
from agency.control.appservice.transactions import Intake
from agency.control.conditions import Code, Conditions
from agency.control.operations.tally import Tally
from agency.web import Connections

_PREFIX = "agency_control"


@dataclass(slots=True, eq=False)  # a registry holds it by its identity
class ControlCollector(Collector):
    """Reader of what the parts of the control plane count."""

    conditions: Conditions
    refusals: Refusals
    intake: Intake
    connections: Connections
    alerts: Counter[str]
    nouns: tuple[str, ...]
    tally: Callable[[], Tally]
    numbers: Numbers | None = None  # as read for the request at hand

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        refused = CounterMetricFamily(f"{_PREFIX}_refused", "Refused requests.", labels=["reason"])
        for kind in Refused:
            refused.add_metric([kind.value], self.refusals.counts[kind])
        yield refused
        events = CounterMetricFamily(
            f"{_PREFIX}_events", "Events that the homeserver delivered.", labels=["result"]
        )
        for result, number in self.intake.counts.as_dict().items():
            events.add_metric([result], number)
        yield events
        yield self._conditions()
        yield CounterMetricFamily(
            f"{_PREFIX}_conditions_overflow",
            "Conditions not kept, because there were too many of their kind.",
            value=self.conditions.overflow,
        )
        yield from self._connections()
        told = CounterMetricFamily(
            f"{_PREFIX}_alerts", "Alerts that Alertmanager delivered.", labels=["result"]
        )
        for result in ("told", "known"):
            told.add_metric([result], self.alerts[result])
        yield told
        yield from self._operations()
        if self.numbers is not None:
            yield from _of_numbers(self.numbers)

    def _operations(self) -> Iterator[Metric]:
        tally = self.tally()
        ended = CounterMetricFamily(
            f"{_PREFIX}_operations", "Operations that ended.", labels=["noun", "state"]
        )
        for (noun, state), number in tally.by_noun(self.nouns).items():
            ended.add_metric([noun, state.value], number)
        yield ended
        yield GaugeMetricFamily(
            f"{_PREFIX}_operations_active",
            "Operations and refusals that run or wait for their turn.",
            value=tally.active,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_approvals_waiting",
            "Operations that wait for an approval.",
            value=tally.waiting,
        )

    def _conditions(self) -> Metric:
        found = Counter((each.code, each.blocks) for each in self.conditions.present())
        present = GaugeMetricFamily(
            f"{_PREFIX}_conditions",
            "Present conditions; one that blocks keeps commands from getting through.",
            labels=["code", "blocks"],
        )
        for code in Code:
            for blocks in (True, False):
                present.add_metric([code.value, str(blocks).lower()], found[code, blocks])
        return present

    def _connections(self) -> Iterator[Metric]:
        counts = self.connections.counts
        ended = CounterMetricFamily(
            f"{_PREFIX}_connections_ended",
            "Connections that were ended, because no request came or there were too many.",
            labels=["reason"],
        )
        for reason in ("slow", "large", "displaced"):
            ended.add_metric([reason], getattr(counts, reason))
        yield ended
        yield CounterMetricFamily(
            f"{_PREFIX}_accept_errors",
            "Connections that could not be accepted.",
            value=counts.accept_errors,
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_connections", "Open connections.", value=len(self.connections)
        )


def _of_numbers(numbers: Numbers) -> Iterator[Metric]:
    """Yield what was read from the store and the homeserver; without a store there is no number."""
    yield GaugeMetricFamily(
        f"{_PREFIX}_ready", "1 if commands get through, as /ready says.", value=int(numbers.ready)
    )
    yield GaugeMetricFamily(
        f"{_PREFIX}_database_writable",
        "1 if the database takes a write.",
        value=int(numbers.database_s is not None),
    )
    took = GaugeMetricFamily(
        f"{_PREFIX}_database_seconds", "Time of the last trial of the database: a write, two looks."
    )
    if numbers.database_s is not None:
        took.add_metric([], numbers.database_s)
    yield took
    waiting = GaugeMetricFamily(
        f"{_PREFIX}_outbox", "Messages that wait, and those given up.", labels=["state"]
    )
    for state, count in numbers.outbox.items():
        waiting.add_metric([state], count)
    yield waiting
    age = GaugeMetricFamily(
        f"{_PREFIX}_last_transaction_age_seconds",
        "Time since the homeserver's last transaction; a quiet homeserver sends none.",
    )
    if numbers.last_transaction_age_s is not None:
        age.add_metric([], numbers.last_transaction_age_s)
    yield age


def registry(collector: ControlCollector) -> CollectorRegistry:
    """Make a registry of the control plane's numbers and its process's."""
    made = CollectorRegistry()
    made.register(collector)
    ProcessCollector(registry=made)
    return made


def exposition(made: CollectorRegistry) -> bytes:
    """Write the numbers in Prometheus' text format."""
    return generate_latest(made)
