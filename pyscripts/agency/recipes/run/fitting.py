"""Fitting of a report into what the readers of `result.json` take. Pure.

Tests that went wrong stay before those that passed, and each stage says how many are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agency.recipes.facts import NO_FACTS
from agency.recipes.outcome import MOST_RESULT, CaseResult, Outcome, StageResult
from agency.recipes.run.report import Report

_BAD = (Outcome.FAIL, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class _Measure:
    """Most tests of a stage, most notes of it, and most characters of each text."""

    tests: int
    notes: int
    letters: int


# From what pages show at once to what always fits.
_MEASURES = (
    _Measure(1000, 100, 4000),
    _Measure(500, 50, 2000),
    _Measure(200, 50, 1000),
    _Measure(50, 20, 500),
    _Measure(10, 10, 500),
    _Measure(0, 5, 200),
)


def fitted(report: Report, most_bytes: int = MOST_RESULT) -> str:
    """Write a report as JSON of at most so many bytes, with as much of it as fits."""
    text = ""
    for measure in _MEASURES:
        text = _written(_cut(report, measure))
        if len(text.encode()) <= most_bytes:
            return text
    return _written(replace(_cut(report, _MEASURES[-1]), facts=NO_FACTS))


def _written(report: Report) -> str:
    text = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
    # Half a character, as of a file's name that is no UTF-8, is JSON to no strict reader.
    return f"{text}\n".encode(errors="replace").decode()


def _cut(report: Report, measure: _Measure) -> Report:
    teardown = replace(
        report.teardown,
        swept=_few(report.teardown.swept, measure),
        left=_few(report.teardown.left, measure),
    )
    return replace(
        report,
        version=_short(report.version, measure),
        abra=_short(report.abra, measure),
        stages=tuple(_stage(one, measure) for one in report.stages),
        teardown=teardown,
    )


def _stage(stage: StageResult, measure: _Measure) -> StageResult:
    kept = _kept(stage.tests, measure.tests)
    left = Counter(one.outcome for one in stage.tests)
    left.subtract(one.outcome for one in kept)
    return replace(
        stage,
        reason=_short(stage.reason, measure),
        notes=_few(stage.notes, measure),
        tests=kept,
        left_out={outcome: number for outcome, number in left.items() if number},
    )


def _kept(tests: Sequence[CaseResult], most: int) -> tuple[CaseResult, ...]:
    """Choose the bad ones before the others, and leave them in their order."""
    numbers = sorted(range(len(tests)), key=lambda number: tests[number].outcome not in _BAD)
    return tuple(tests[number] for number in sorted(numbers[:most]))


def _few(texts: Sequence[str], measure: _Measure) -> tuple[str, ...]:
    kept = tuple(_short(one, measure) for one in texts[: measure.notes])
    left = len(texts) - len(kept)
    return (*kept, f"and {left} more") if left else kept


def _short(text: str, measure: _Measure) -> str:
    return text if len(text) <= measure.letters else f"{text[: measure.letters - 1]}…"
