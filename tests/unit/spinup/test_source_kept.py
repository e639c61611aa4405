"""The source that a transcript names is the one that ran, from the first step to the last."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agency.quarantine import Quarantine
from agency.secrets.values import SecretValue
from agency.source_digest import source_root
from agency.spinup import pipeline as smoke_run
from agency.spinup.run import Run
from agency.spinup.target import Options
from agency.transcript.rules.v2.judge import STEPS
from agency.transcript.verification import read_unchecked

INSTANCE = source_root() / "instance"


@dataclass(frozen=True)
class Target:
    """A simulated target that does something in its first step."""

    act: Callable[[], object]

    async def spin_up(self, run: Run) -> None:
        run.network = Quarantine("none", "not looked at")
        run.known_secrets.append(SecretValue("the-secret-of-this-run"))
        for name in STEPS["local"][:-1]:
            async with run.step(name):
                if name == "quarantine":
                    self.act()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "source"
    (root / "sub").mkdir(parents=True)
    (root / "sub/file").write_text("one")
    monkeypatch.setattr(smoke_run, "source_root", lambda: root)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return root


async def ran(tmp_path: Path, step: Callable[[], object]) -> tuple[Any, dict[str, Any]]:
    output = tmp_path / "out/transcript.json"
    options = Options("local", output, INSTANCE, {}, None, 60.0)

    @contextlib.asynccontextmanager
    async def opener(_: object) -> AsyncIterator[Any]:
        yield Target(step)

    network = Quarantine("none", "not looked at")
    outcome = await smoke_run.spin_up(options, network, Console(quiet=True), opener)
    document = read_unchecked(output.read_bytes(), where="").document()
    return outcome, document["predicate"]


async def test_a_source_that_stays_is_no_failure(tree: Path, tmp_path: Path) -> None:
    _, predicate = await ran(tmp_path, lambda: (tree / "sub/file").write_text("one"))
    assert predicate["failure"] is None


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "sub/file").write_text("two"),
        lambda tree: (tree / "sub/file").chmod(0o755),
        lambda tree: (tree / "new").touch(),
        lambda tree: (tree / "sub/file").unlink(),
    ],
    ids=["content", "mode", "new", "gone"],
)
async def test_a_source_that_was_changed_is_a_failure(
    change: Callable[[Path], object], tree: Path, tmp_path: Path
) -> None:
    outcome, predicate = await ran(tmp_path, lambda: change(tree))
    assert predicate["result"] == "FAILED"
    assert "the source was changed during the run" in predicate["failure"]["message"]
    assert outcome.exit_code == 1


async def test_a_source_that_cannot_be_read_again_is_a_failure(tree: Path, tmp_path: Path) -> None:
    _, predicate = await ran(tmp_path, lambda: os.mkfifo(tree / "pipe"))
    assert "could not be digested again" in predicate["failure"]["message"]


async def test_what_is_shown_of_a_failure_is_redacted(tree: Path, tmp_path: Path) -> None:
    def leak() -> None:
        raise OSError("refused the-secret-of-this-run")

    outcome, predicate = await ran(tmp_path, leak)
    shown = outcome.recorder.failure
    assert "the-secret-of-this-run" not in shown.message + json.dumps(predicate)
    assert "refused" in shown.message
