"""Recording probes: an answer that cannot be read is a finding, a fault of ours is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from agency.clock import Clock
from agency.spinup.probes.probe import Pids
from agency.spinup.probes.records import Trace
from agency.spinup.progress import Progress
from agency.spinup.record import Recorder
from agency.spinup.remote.agents_audit import _log


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("incus", Clock(), Progress(Console(quiet=True), quiet=True))


NO_HEAD = {"agent": "pm", "count": 0, "head": None, "ok": True, "broken": None}


@pytest.mark.parametrize(
    ("understand", "words"),
    [
        (lambda: json.loads("<html>403 Forbidden</html>"), "JSONDecodeError"),
        (lambda: Pids(pids={"pm": 0}), "pids.pm: Input should be greater than 1"),
        (lambda: _log(NO_HEAD), "TypeError"),
        (lambda: {}["agents"], "KeyError: 'agents'"),
        (lambda: [].get("pid"), "AttributeError"),  # type: ignore[attr-defined]
        (b"\xff".decode, "UnicodeDecodeError"),
    ],
    ids=["no JSON", "pid 0", "no head", "no field", "no object", "no text"],
)
async def test_what_cannot_be_understood_is_a_probe_that_failed(
    understand: Any, words: str, recorder: Recorder
) -> None:
    async def collect() -> Any:
        return understand()

    assert await recorder.probe("control.ready", collect) == {}
    (probe,) = recorder.probes
    assert probe.status == "failed"
    assert str(probe.reason).startswith("could not be understood: ")
    assert words in str(probe.reason)


async def test_what_was_given_is_not_repeated(recorder: Recorder) -> None:
    async def collect() -> Any:
        return Trace(trace="a-token-that-is-long" * 10)

    await recorder.probe("control.ready", collect)
    assert "a-token" not in str(recorder.probes[0].reason)


@pytest.mark.parametrize("defect", [ZeroDivisionError, AssertionError, RecursionError])
async def test_a_defect_of_ours_is_none_of_these(
    defect: type[Exception], recorder: Recorder
) -> None:
    async def collect() -> Any:
        raise defect

    with pytest.raises(defect):
        await recorder.probe("control.ready", collect)
    assert recorder.probes == []
