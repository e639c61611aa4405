"""Result of a run as pages show it: whatever is missing, new or damaged, the rest is shown. Pure.

`result.json` is written by another program, of this version or another; `recipes/run/report.py`
says what it has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST_STAGES, MOST_TESTS, MOST_NOTES, MOST_ROWS = 20, 1000, 100, 200
_MOST_TEXT = 4000
_MOST_DEPTH = 6
_OUTCOMES = ("pass", "fail", "skip", "error")


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a stage."""

    name: str
    outcome: str
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage."""

    name: str
    outcome: str
    seconds: float | None
    reason: str
    notes: tuple[str, ...] = ()
    tests: tuple[Case, ...] = ()
    more_tests: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)  # of the result itself, by outcome

    @property
    def passed(self) -> int:
        """Number of its tests that passed."""
        listed = sum(test.outcome == "pass" for test in self.tests)
        return listed + self.left_out.get("pass", 0)

    @property
    def all_tests(self) -> int:
        """Number of its tests."""
        return len(self.tests) + self.more_tests + sum(self.left_out.values())


@dataclass(frozen=True, slots=True)
class Table:
    """Facts of any form as a table; `columns` is empty for pairs of a name and a text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a run; `faults` say what of it could not be read."""

    there: bool = False
    faults: tuple[str, ...] = ()
    domain: str = ""
    abra: str = ""
    version: str = ""
    modified: bool = False
    seconds: float | None = None
    deadline_s: float | None = None
    deadline_reached: bool = False
    stages: tuple[Stage, ...] = ()
    left: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    kept: bool = False
    clean: bool | None = None
    screenshots: tuple[str, ...] = ()
    images: Table | None = None
    usage: Table | None = None
    overlay: Table | None = None
    document: Mapping[str, object] = field(default_factory=dict, repr=False)


def read_result(text: str | None) -> Result:
    """Read the text of a `result.json`; None if there is none."""
    if text is None:
        return Result()
    try:
        document = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        return Result(faults=(f"result.json is damaged: {_first_line(error)}",))
    if not isinstance(document, dict):
        return Result(faults=("result.json is damaged: it is no JSON object",))
    faults: list[str] = []
    teardown = _mapping(document, "teardown", faults)
    deadline = _mapping(document, "deadline", faults)
    return Result(
        there=True,
        domain=_text(document.get("domain")),
        abra=_text(document.get("abra")),
        version=_text(document.get("version")),
        modified=document.get("modified") is True,
        seconds=_seconds(document.get("seconds")),
        deadline_s=_seconds(deadline.get("seconds")),
        deadline_reached=deadline.get("reached") is True,
        stages=tuple(_stages(document, faults)),
        left=_texts(teardown.get("left")),
        swept=_texts(teardown.get("swept")),
        kept=teardown.get("kept") is True,
        clean=clean if isinstance(clean := teardown.get("clean"), bool) else None,
        screenshots=_texts(document.get("screenshots")),
        images=table(document.get("images")),
        usage=table(document.get("usage")),
        overlay=table(document.get("overlay")),
        document=document,
        faults=tuple(faults),
    )


def _stages(document: Mapping[str, object], faults: list[str]) -> Iterator[Stage]:
    found = document.get("stages", [])
    if not isinstance(found, list):
        faults.append("its stages cannot be read: they are no list")
        return
    for number, one in enumerate(found[:MOST_STAGES], 1):
        if not isinstance(one, dict):
            faults.append(f"stage {number} cannot be read: it is no JSON object")
            continue
        tests = one.get("tests")
        tests = tests if isinstance(tests, list) else []
        cases = [_case(test) for test in tests[:MOST_TESTS] if isinstance(test, dict)]
        yield Stage(
            name=_text(one.get("name")) or f"stage {number}",
            outcome=_outcome(one.get("outcome")),
            seconds=_seconds(one.get("seconds")),
            reason=_text(one.get("reason")),
            notes=_texts(one.get("notes")),
            tests=tuple(cases),
            more_tests=max(0, len(tests) - MOST_TESTS),
            left_out=_counts(one.get("tests_left_out")),
        )


def _counts(value: object) -> dict[str, int]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {
        outcome: number
        for outcome, number in pairs
        if outcome in _OUTCOMES and type(number) is int and 0 < number < 10**9
    }


def _case(test: Mapping[str, object]) -> Case:
    return Case(
        name=_text(test.get("name")) or "a test without a name",
        outcome=_outcome(test.get("outcome")),
        seconds=_seconds(test.get("seconds")),
        reason=_text(test.get("reason")),
    )


def table(value: object) -> Table | None:
    """Make a table of facts of any form; None if there are none."""
    rows = _records(value)
    if rows:
        columns = tuple(dict.fromkeys(key for row in rows for key in row))[:8]
        return Table(columns, tuple(tuple(row.get(name, "") for name in columns) for row in rows))
    pairs = tuple(_pairs("", value, 0))[:MOST_ROWS]
    return Table((), pairs) if pairs else None


def _records(value: object) -> list[dict[str, str]]:
    """Return the rows of a list, or a mapping, of flat objects; nothing of another form."""
    named: list[tuple[str, object]] = []
    if isinstance(value, list):
        named = [("", one) for one in value[:MOST_ROWS]]
    elif isinstance(value, dict):
        named = list(value.items())[:MOST_ROWS]
    rows: list[dict[str, str]] = []
    for name, one in named:
        if not isinstance(one, dict) or any(isinstance(part, dict | list) for part in one.values()):
            return []
        row = {"name": _text(name)} if name else {}
        rows.append(row | {_text(key): _scalar(part) for key, part in one.items()})
    return rows


def _pairs(name: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and value and depth < _MOST_DEPTH:
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for key, one in list(items)[:MOST_ROWS]:
            yield from _pairs(f"{name} {_text(str(key))}".strip(), one, depth + 1)
    elif value not in (None, "", [], {}):
        yield name, _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list):
        return "…"
    return "" if value is None else str(value)[:_MOST_TEXT]


def _mapping(document: Mapping[str, object], key: str, faults: list[str]) -> Mapping[str, object]:
    found = document.get(key)
    if found is None or isinstance(found, dict):
        return found or {}
    faults.append(f"its {key} cannot be read: it is no JSON object")
    return {}


def _text(value: object) -> str:
    return value[:_MOST_TEXT] if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return tuple(_text(one) for one in found[:MOST_NOTES] if isinstance(one, str))


def _outcome(value: object) -> str:
    return value if isinstance(value, str) and value in _OUTCOMES else "unknown"


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e9 and math.isfinite(value) else None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:200]
