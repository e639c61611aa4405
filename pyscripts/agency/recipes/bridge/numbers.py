"""Numbers for Prometheus. Labels are of a few fixed words: no ids, no names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agency.recipes.bridge.memory import Kind
from agency.recipes.record.run import RunState

_PREFIX = "agency_bridge"
LOOKS = ("done", "failed")
HOOKS = ("taken", "other", "refused", "limited")
TOLD = ("comment", "edit", "status", "refused", "failed")


@dataclass(slots=True, eq=False)  # a registry holds it by its identity
class Numbers(Collector):
    """Counts since the start of the bridge. `looked` has the moment of each project's last look."""

    steady: Callable[[], float]
    looked: dict[str, float]
    looks: Counter[str] = field(default_factory=Counter)
    hooks: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    comments: Counter[Kind] = field(default_factory=Counter)
    runs: Mapping[RunState, int] = field(default_factory=dict)  # as read for the request at hand

    @property
    def oldest_look_s(self) -> float:
        """Seconds since the last good look at the project that waits longest, or the start."""
        now = self.steady()
        return max((now - at for at in self.looked.values()), default=0.0)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield _counted("looks", "Looks at projects.", "result", {k: self.looks[k] for k in LOOKS})
        yield _counted("hooks", "Calls of hooks.", "result", {k: self.hooks[k] for k in HOOKS})
        yield _counted("told", "What the forge was told.", "what", {k: self.told[k] for k in TOLD})
        kinds = {kind.value: self.comments[kind] for kind in Kind}
        yield _counted("comments", "Commands in comments, by what became of them.", "kind", kinds)
        runs = GaugeMetricFamily(f"{_PREFIX}_runs", "Runs on record.", labels=["state"])
        for state in RunState:
            runs.add_metric([state.value], self.runs.get(state, 0))
        yield runs
        yield GaugeMetricFamily(
            f"{_PREFIX}_last_look_age_seconds",
            "Seconds since the last good look at the project that waits longest.",
            value=self.oldest_look_s,
        )
        yield GaugeMetricFamily(f"{_PREFIX}_projects", "Projects.", value=len(self.looked))


def _counted(name: str, help_: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", help_, labels=[label])
    for word, number in counts.items():
        family.add_metric([word], number)
    return family


def exposition(numbers: Numbers) -> bytes:
    """Write all metrics as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(numbers)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
