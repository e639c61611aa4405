"""Numbers for Prometheus. Labels are fixed words; no name of a recipe or a person is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agency.recipes.dashboard.logs.streaming import Streams
from agency.recipes.record.run import RunState

_PREFIX = "agency_recipes_dashboard"


@dataclass(slots=True, eq=False)  # a registry holds it by its identity
class Numbers(Collector):
    """Counts since the start of the dashboard; `runs` are those of the record now."""

    streams: Streams
    runs: Mapping[RunState, int] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer, and the time that its handler took."""
        self.answers[f"{status // 100}xx"] += 1
        self.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        runs = GaugeMetricFamily(f"{_PREFIX}_runs", "Runs on record.", labels=["state"])
        for state, number in self.runs.items():
            runs.add_metric([state.value], number)
        yield runs
        answers = CounterMetricFamily(f"{_PREFIX}_answers", "Answers.", labels=["status"])
        for status, number in self.answers.items():
            answers.add_metric([status], number)
        yield answers
        yield CounterMetricFamily(
            f"{_PREFIX}_answer_seconds", "Time of all handlers but live logs.", value=self.seconds
        )
        yield GaugeMetricFamily(
            f"{_PREFIX}_streams", "Live logs that are followed now.", value=self.streams.open
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_streams_refused",
            "Live logs that were refused because too many were followed.",
            value=self.streams.refused,
        )


def exposition(numbers: Numbers) -> bytes:
    """Write all metrics as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(numbers)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
