"""What a transcript tells of happened while the run lasted, one step after the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.model import Predicate

Document = dict[str, Any]


def judged(document: Document) -> tuple[str, str]:
    result, reasons = judge.overall(Predicate.model_validate(document["predicate"]))
    return result, "\n".join(reasons)


def _shift(seconds: float) -> str:
    moment = datetime.fromisoformat("2026-07-01T12:00:00+00:00") + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# The run of the sample takes 9.5 s.
TIME_CHANGES: dict[str, tuple[Callable[[Document], object], str]] = {
    "an end before the beginning": (
        lambda body: body.update(finishedAt="1999-01-01T00:00:00.000Z"),
        "finishedAt is before startedAt",
    ),
    "a step of long ago": (
        lambda body: body["steps"][0].update(startedAt=_shift(-2)),
        "the step quarantine began before it could",
    ),
    "a step that outlasts the run": (
        lambda body: body["steps"][-1].update(durationS=11),
        "the step teardown was not between",
    ),
    "a step after the run": (
        lambda body: body["steps"][-1].update(startedAt=_shift(11)),
        "the step teardown was not between",
    ),
    "a step within another": (
        lambda body: body["steps"][2].update(durationS=5),
        "the step accounts began before it could",
    ),
    "a probe of long ago": (
        lambda body: body["probes"][1].update(at="1999-01-01T00:00:00.000Z"),
        "homeserver.versions was not between",
    ),
    "a probe after the run": (
        lambda body: body["probes"][1].update(at=_shift(11)),
        "homeserver.versions was not between",
    ),
    "a probe that outlasts the run": (
        lambda body: body["probes"][1].update(durationS=1e12),
        "homeserver.versions was not between",
    ),
}


@pytest.mark.parametrize("how", list(TIME_CHANGES))
def test_what_is_told_happened_during_the_run(how: str, document: Document) -> None:
    change, reason = TIME_CHANGES[how]
    change(document["predicate"])
    result, reasons = judged(document)
    assert result == "FAILED"
    assert reason in reasons


def test_times_may_touch_and_are_rounded(document: Document) -> None:
    body = document["predicate"]
    body["steps"][0].update(startedAt=_shift(0), durationS=4.25)
    for number, step in enumerate(body["steps"][1:]):
        step.update(startedAt=_shift(4.249), durationS=0 if number < 7 else 5.252)
    body["probes"][0].update(at=_shift(9.5), durationS=0.001)
    assert judged(document) == ("PASSED", "")
