"""Report of a run: the document of `--json` and `result.json`, and the table for people. Pure.

`result.json` is bounded: tests that went wrong stay before those that passed, and each stage says
how many are left out.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agency.recipes.facts import NO_FACTS, Facts
from agency.recipes.outcome import (
    MOST_RESULT,
    CaseResult,
    Outcome,
    StageResult,
    Teardown,
    verdict,
)
from agency.terminal import plain_lines

WIDTH = 80
_INDENT = 27
_BAD = (Outcome.FAIL, Outcome.ERROR)


@dataclass(frozen=True, slots=True)
class Report:
    """One run, at its end."""

    run: str
    recipe: str
    commit: str
    modified: bool
    domain: str
    abra: str
    started: str
    seconds: float
    stages: tuple[StageResult, ...]
    teardown: Teardown
    artifacts: str
    version: str = ""  # that the recipe under test says of itself
    facts: Facts = NO_FACTS

    @property
    def outcome(self) -> Outcome:
        """The verdict."""
        return verdict(self.stages, self.teardown)

    def as_dict(self) -> Mapping[str, object]:
        """Describe the run as JSON."""
        return {
            "run": self.run,
            "recipe": self.recipe,
            "version": self.version,
            "commit": self.commit,
            "modified": self.modified,
            "domain": self.domain,
            "abra": self.abra,
            "started": self.started,
            "seconds": round(self.seconds, 1),
            "outcome": self.outcome.value,
            "stages": [_stage(one) for one in self.stages],
            "teardown": {
                "clean": self.teardown.clean,
                "kept": self.teardown.kept,
                "swept": list(self.teardown.swept),
                "left": list(self.teardown.left),
            },
            "artifacts": self.artifacts,
            **self.facts.as_dict(),
            "screenshots": [
                {"stage": stage.name, "test": test.name, "file": test.screenshot}
                for stage in self.stages
                for test in stage.tests
                if test.screenshot
            ],
        }

    def lines(self) -> list[str]:
        """Draw the table, at most 80 columns wide."""
        rows = [f"{'stage':<10}{'outcome':<9}{'seconds':>7}"]
        for stage in self.stages:
            passed = sum(test.outcome is Outcome.PASS for test in stage.tests)
            told = [stage.reason] if stage.reason else []
            told += [f"{passed} of {len(stage.tests)} tests passed"] if stage.tests else []
            rows += _row(stage.name, stage.outcome.value, stage.seconds, [*told, *stage.notes])
        rows += _row("teardown", *_ended(self.teardown))
        for head, told in self.facts.rows():
            rows += _row(head, "", None, told)
        changed = " with uncommitted changes" if self.modified else ""
        what = f"{self.outcome.value}: {self.recipe} at {self.commit[:12]}{changed}"
        rows += ["", *_wrapped(f"{what}, by {self.abra}", 0)]
        rows += _wrapped(f"see {self.artifacts}", 0)
        return rows


def _stage(stage: StageResult) -> dict[str, object]:
    return {
        "name": stage.name,
        "outcome": stage.outcome.value,
        "seconds": round(stage.seconds, 1),
        "reason": stage.reason,
        "notes": list(stage.notes),
        "tests": [_test(one) for one in stage.tests],
        "tests_left_out": {one.value: number for one, number in stage.left_out.items()},
    }


def _test(test: CaseResult) -> dict[str, object]:
    return {
        "name": test.name,
        "outcome": test.outcome.value,
        "seconds": test.seconds,
        "reason": test.reason,
        "screenshot": test.screenshot,
    }


def _ended(teardown: Teardown) -> tuple[str, None, list[str]]:
    if teardown.kept:
        return "kept", None, []
    told = [f"still there: {', '.join(teardown.left)}"] if teardown.left else []
    return ("pass" if teardown.clean else "fail"), None, [*told, *teardown.swept]


def _row(name: str, outcome: str, seconds: float | None, told: list[str]) -> list[str]:
    time = "" if seconds is None else f"{seconds:.1f}"
    head = f"{name:<10}{outcome:<9}{time:>7} "
    if not told:
        return [head.rstrip()]
    body = [line for text in told for line in _wrapped(text, _INDENT)]
    return [head + body[0][_INDENT:], *body[1:]]


def _wrapped(text: str, indent: int) -> list[str]:
    """Break text into lines; a long word, such as a path or a digest, is broken too."""
    pad = " " * indent
    flat = " ".join(plain_lines(text).split())
    return textwrap.wrap(flat, WIDTH, initial_indent=pad, subsequent_indent=pad) or [pad]


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
        stages=tuple(_cut_stage(one, measure) for one in report.stages),
        teardown=teardown,
    )


def _cut_stage(stage: StageResult, measure: _Measure) -> StageResult:
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
