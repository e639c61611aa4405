"""Numbers of the engine, for Prometheus: queue, runs by state, ends and lengths since its start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agency.recipes.record.run import Run, RunState

_PREFIX = "agency_recipes"
_BUCKETS_S = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
_ENDS = tuple(state for state in RunState if state.ended and state is not RunState.REPLACED)


@dataclass(slots=True)
class Numbers:
    """Counts since the start of the engine; `faults` are failed looks at the engine or record."""

    ended: Counter[RunState] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0
    requeued: int = 0
    faults: int = 0

    def end(self, run: Run) -> None:
        """Count a run that ended."""
        self.ended[run.state] += 1
        length = run.seconds or 0.0
        self.seconds += length
        self.buckets[next((one for one in _BUCKETS_S if length <= one), float("inf"))] += 1


@dataclass(slots=True, eq=False)  # a registry holds it by its identity
class _Numbers(Collector):
    numbers: Numbers
    states: Mapping[RunState, int]
    capacity: int

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        runs = GaugeMetricFamily(f"{_PREFIX}_runs", "Runs on record.", labels=["state"])
        for state, number in self.states.items():
            runs.add_metric([state.value], number)
        yield runs
        text = "Runs that wait for a slot."
        yield GaugeMetricFamily(
            f"{_PREFIX}_queue_depth", text, value=self.states.get(RunState.QUEUED, 0)
        )
        yield GaugeMetricFamily(f"{_PREFIX}_capacity", "Runs at a time.", value=self.capacity)
        ends = CounterMetricFamily(f"{_PREFIX}_ended", "Runs that ended.", labels=["outcome"])
        for state in _ENDS:
            ends.add_metric([state.value], self.numbers.ended[state])
        yield ends
        yield CounterMetricFamily(
            f"{_PREFIX}_requeued", "Runs queued again.", value=self.numbers.requeued
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_engine_faults", "Failed looks at a run.", value=self.numbers.faults
        )
        yield self._lengths()

    def _lengths(self) -> Metric:
        total, buckets = 0, []
        for most in (*_BUCKETS_S, float("inf")):
            total += self.numbers.buckets[most]
            buckets.append(("+Inf" if most == float("inf") else f"{most:g}", total))
        family = HistogramMetricFamily(f"{_PREFIX}_run_seconds", "Lengths of runs that ended.")
        family.add_metric([], buckets, self.numbers.seconds)
        return family


def metrics(numbers: Numbers, states: Mapping[RunState, int], capacity: int) -> bytes:
    """Write the numbers in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Numbers(numbers, states, capacity))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
