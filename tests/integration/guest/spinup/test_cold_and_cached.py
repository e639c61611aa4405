"""The whole thing, twice: with nothing prepared, and with everything cached."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driving import BIN, SpinUp

from agency.spinup.transcript import judge

Make = Callable[..., SpinUp]
MANDATORY = [name for name, rule in judge.PROBES.items() if rule.mandatory_for("incus")]


def evidence(predicate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [p["evidence"] for p in predicate["probes"] if p["name"] == name]
    return dict(found)


def verified(run_up: SpinUp) -> subprocess.CompletedProcess[str]:
    required = [word for name in MANDATORY for word in ("--require", name)]
    return run_up.verify(*required, "--require-gate", "hermetic")


@pytest.mark.parametrize("cached", [False, True], ids=["cold", "cached"])
def test_a_guest_passes_and_leaves_only_its_transcript(
    cached: bool, spinup: Make, ground: Any
) -> None:
    was_empty = not any((ground.place.materials / "images").glob("[0-9a-f]*"))
    if not cached and not was_empty:
        pytest.skip("AGENCY_TEST_GUEST_DIR names a directory that holds an image already")
    run_up = spinup().start()
    run = run_up.run
    assert run_up.end() == 0, run_up.text
    assert verified(run_up).returncode == 0, verified(run_up).stdout
    predicate = run_up.predicate()
    assert predicate["result"] == "PASSED"
    image = evidence(predicate, "guest.image")
    assert image["fresh"] is not cached
    assert evidence(predicate, "guest.running")["networkDevices"] == []
    ground.assert_nothing_left(run)
    names = sorted(path.name for path in run_up.output.parent.iterdir())
    assert names == ["transcript.json", "transcript.pub"]


def test_two_at_once_do_not_meet_and_one_is_kept(spinup: Make, ground: Any) -> None:
    # Each looks for what killed runs left while the other one lives.
    other, kept = spinup().start(), spinup("--keep").start()
    assert (other.end(), kept.end()) == (0, 0), other.text + kept.text
    runs = [each.predicate()["run"] for each in (other, kept)]
    assert len(set(runs)) == 2
    gone = evidence(kept.predicate(), "guest.gone")
    assert (gone["present"], gone["kept"]) == (True, True)
    (listed,) = json.loads(ground.agency("guest", "list", "--json").stdout)
    assert listed["name"] == gone["name"]
    assert listed["purpose"] == "kept"
    ended = ground.agency("guest", "destroy", listed["name"])
    assert ended.returncode == 0, ended.stderr
    ground.assert_nothing_left(*runs)


def test_only_root_begins_one(tmp_path: Path) -> None:
    # A user without rights, in a namespace of its own: the uid is what counts.
    argv = ["unshare", "--user", "--map-user=1000", str(BIN / "spinup_smoke"), "--target", "incus"]
    argv += ["--output", str(tmp_path / "transcript.json"), "--json"]
    environment = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "only root can make a guest" in done.stderr
    assert not (tmp_path / "transcript.json").exists()
