"""The log of a service: one JSON object a line, with context, redacted at every level."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agency.commandline import log_context, log_to_stderr, set_log_level
from agency.secrets import Redactor, SecretValue

CANARY = 'canary"\\5b2e90c1ä'  # its JSON form is another than itself
REDACT = Redactor([SecretValue(CANARY)]).redact
_log = logging.getLogger("agency.tests")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("agency")
    before = (root.level, list(root.handlers), own.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    own.setLevel(before[2])


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start the log at a level, and return what was logged since."""

    def start(level: Any = "debug", redact: Any = REDACT) -> Any:
        sink = io.StringIO()
        monkeypatch.setattr(sys, "stderr", sink)
        log_to_stderr(level, redact)
        return lambda: [json.loads(line) for line in sink.getvalue().splitlines()]

    return start


def test_fields_and_context_are_in_the_line(lines: Any) -> None:
    read = lines()
    with log_context(trace="t1", actor="@alice:x"):
        with log_context(action="agents stop"):
            _log.debug("deep", extra={"fields": {"n": 1, "actor": "@bob:x"}})
        _log.info("after")
    _log.info("outside")
    deep, after, outside = read()
    assert (deep["trace"], deep["action"], deep["n"]) == ("t1", "agents stop", 1)
    assert deep["actor"] == "@bob:x", "a record's own field counts"
    assert (deep["level"], deep["message"]) == ("debug", "deep")
    assert after["actor"] == "@alice:x"
    assert "action" not in after
    assert "trace" not in outside


async def test_context_goes_with_tasks_and_not_beside_them(lines: Any) -> None:
    read = lines()

    async def say(text: str) -> None:
        await asyncio.sleep(0)
        _log.debug(text)

    with log_context(trace="t1"):
        inside = asyncio.create_task(say("inside"))
    beside = asyncio.create_task(say("beside"))
    await asyncio.gather(inside, beside)
    assert {each["message"]: each.get("trace") for each in read()} == {
        "inside": "t1",
        "beside": None,
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_level_hides_what_is_below_it(lines: Any, level: str) -> None:
    read = lines(level)
    for each in ("debug", "info", "warning", "error"):
        getattr(_log, each)("said")
    order = ["debug", "info", "warning", "error"]
    assert [each["level"] for each in read()] == order[order.index(level) :]


def test_libraries_never_log_their_debug_lines(lines: Any) -> None:
    read = lines("debug")
    logging.getLogger("aiosqlite").debug("executing INSERT with values")
    logging.getLogger("aiosqlite").warning("shown")
    assert [each["message"] for each in read()] == ["shown"]


def test_alembic_does_not_tell_each_start_what_it_loads(lines: Any) -> None:
    read = lines("info")
    logging.getLogger("alembic.runtime.plugins").info("setup plugin")
    logging.getLogger("alembic.runtime.migration").warning("shown")
    assert [each["message"] for each in read()] == ["shown"]


def leak() -> None:
    raise ValueError(CANARY)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_a_secret_is_in_no_part_of_a_line(lines: Any, level: str) -> None:
    read = lines(level)
    fields: dict[str, Any] = {
        "text": f"a {CANARY} b",
        "list": [CANARY, {"deep": (CANARY,)}],
        CANARY: "key",
        "map": {CANARY: CANARY},
        "object": ValueError(CANARY),
        "json": json.dumps({"said": CANARY}),
        "bytes": CANARY.encode(),
    }
    with log_context(said=CANARY):
        _log.warning("it is %s", CANARY, extra={"fields": fields})
        try:
            leak()
        except ValueError:
            _log.exception("failed with %r", CANARY)
    told = json.dumps(read(), ensure_ascii=False)
    assert "5b2e90c1" not in told
    assert told.count("[***]") >= 10
    assert len(read()) == 2


def test_the_level_is_changed_while_it_runs(lines: Any) -> None:
    read = lines("info")
    _log.debug("before")
    set_log_level("debug")
    _log.debug("ours")
    logging.getLogger("aiosqlite").debug("theirs")
    set_log_level("error")
    _log.warning("after")
    assert [each["message"] for each in read()] == ["ours"]


def test_a_text_is_cut_after_it_was_redacted(lines: Any) -> None:
    read = lines()
    _log.info("x" * 4090 + CANARY)
    _log.info("short", extra={"fields": {"long": "y" * 5000 + CANARY}})
    first, second = read()
    assert "canary" not in first["message"]
    assert len(second["long"]) == 4096


def test_a_program_without_secrets_logs_from_info_on(lines: Any) -> None:
    read = lines("info", lambda text: text)
    _log.info("plain", extra={"fields": {"none": None, "yes": True, "n": 1.5}})
    (line,) = read()
    assert (line["none"], line["yes"], line["n"]) == (None, True, 1.5)
