"""One measured number as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_MOST_STRAIN = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """Measured number, its baseline, and its limit.

    `ratio` is value / baseline value, in the same run; `limit` bounds the value, or the ratio where
    `limit_on` says so. `usual` is the baseline's value on the idle machine for which the limit is.
    """

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    limit: float
    limit_on: str = "value"
    usual: float | None = None

    @property
    def ratio(self) -> float:
        """Value in multiples of the baseline."""
        return self.value / self.baseline_value if self.baseline_value else float("inf")

    @property
    def ok(self) -> bool:
        """True if the limit holds."""
        return self.within(1.0)

    def within(self, slack: float) -> bool:
        """Return whether `slack` times the limit holds.

        With slack, for a machine that others use, it is up to twice as high where the baseline of
        the same run took as much longer than usual.
        """
        strain = 1.0
        if self.usual is not None and slack > 1:
            strain = min(max(self.baseline_value / self.usual, 1.0), _MOST_STRAIN)
        measured = self.ratio if self.limit_on == "ratio" else self.value
        return measured <= self.limit * slack * strain

    def line(self) -> str:
        """Write the row as `artifacts/bench.jsonl` holds it."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        data |= {"ratio": round(self.ratio, 3), "ok": self.ok}
        data["value"] = round(self.value, 4)
        data["baseline_value"] = round(self.baseline_value, 4)
        return json.dumps(data)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]
