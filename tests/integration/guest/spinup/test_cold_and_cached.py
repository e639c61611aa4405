"""The whole thing: with nothing prepared, and with everything cached, two at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import troubleshooting
from driving import BIN, ROOT, SpinUp

from agency.guests.incus import daemon
from agency.transcript.rules.v2 import judge

Make = Callable[..., SpinUp]
MANDATORY = [name for name, rule in judge.PROBES.items() if rule.mandatory_for("incus")]


def evidence(predicate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [p["evidence"] for p in predicate["probes"] if p["name"] == name]
    return dict(found)


def verified(run_up: SpinUp) -> subprocess.CompletedProcess[str]:
    required = [word for name in MANDATORY for word in ("--require", name)]
    return run_up.verify(*required, "--require-gate", "hermetic", "--require-gate", "control")


def assert_passed(run_up: SpinUp, *, cached: bool) -> dict[str, Any]:
    """What a whole spin-up owes; returns what its transcript says."""
    assert verified(run_up).returncode == 0, verified(run_up).stdout
    predicate = run_up.predicate()
    assert predicate["result"] == "PASSED"
    image = evidence(predicate, "guest.image")
    assert image["fresh"] is not cached
    assert evidence(predicate, "guest.running")["networkDevices"] == []
    names = sorted(path.name for path in run_up.output.parent.iterdir())
    assert names == ["transcript.json", "transcript.pub"]
    return predicate


def test_a_cold_spin_up_passes_and_leaves_only_its_transcript(spinup: Make, ground: Any) -> None:
    if any((ground.place.materials / "images").glob("[0-9a-f]*")):
        pytest.skip("AGENCY_TEST_GUEST_DIR names a directory that holds an image already")
    run_up = spinup().start()
    run = run_up.run
    assert run_up.end() == 0, run_up.text
    assert_passed(run_up, cached=False)
    ground.assert_nothing_left(run)


def test_two_at_once_pass_and_do_not_meet_and_one_is_kept(
    prepared: Any, spinup: Make, ground: Any
) -> None:
    """Both find the image in the cache, and each looks for what killed runs left.

    One gets a signal at its teardown: all has been seen by then, so it passes all the same.
    """
    other, kept = spinup().start(), spinup("--keep").start()
    other.reach("teardown")
    other.process.send_signal(signal.SIGINT)
    assert (other.end(), kept.end()) == (0, 0), other.text + kept.text
    predicates = [assert_passed(each, cached=True) for each in (other, kept)]
    runs = [predicate["run"] for predicate in predicates]
    assert len(set(runs)) == 2
    gone = evidence(kept.predicate(), "guest.gone")
    assert (gone["present"], gone["kept"]) == (True, True)
    (listed,) = json.loads(ground.agency("guest", "list", "--json").stdout)
    assert listed["name"] == gone["name"]
    assert listed["purpose"] == "kept"
    try:
        assert_the_page_helps(ground, listed["name"])
    finally:  # what is left would fail every test behind it
        ended = ground.agency("guest", "destroy", listed["name"])
    assert ended.returncode == 0, ended.stderr
    ground.assert_nothing_left(*runs)


def assert_the_page_helps(ground: Any, name: str) -> None:
    """Type what docs/troubleshooting.md says, in a guest that runs the agency."""
    rows = troubleshooting.read_rows(troubleshooting.PAGE.read_text())
    commands = sorted({command for row in rows for command in row.commands()})
    tried = troubleshooting.tried_in_a_guest(commands)
    assert len(tried) > 15
    script = troubleshooting.guest_script([*tried, "systemctl status no-such-unit"])
    said = ground.agency("guest", "shell", name, "--", "sh", "-c", script).stdout
    status = {command: int(code) for code, command in re.findall(r"(?m)^(\d+)\t(.+)$", said)}
    assert status.pop("systemctl status no-such-unit") == 4
    assert set(status) == set(tried), said
    assert {c: s for c, s in status.items() if s not in fitting(c)} == {}, said


def fitting(command: str) -> set[int]:
    """The exit statuses of a command that found what it looks for."""
    if " -f " in command:
        return {124}  # a log that is followed has no end
    if command.startswith("systemctl status "):
        return {0, 3}  # 3: the unit is there, and does not run
    return {0}


def test_only_root_begins_one(tmp_path: Path) -> None:
    # A user without rights, in a namespace of its own: the uid is what counts.
    argv = ["unshare", "--user", "--map-user=1000", str(BIN / "spinup_smoke"), "--target", "incus"]
    done = begin(argv, tmp_path, PATH=os.environ["PATH"])
    assert done.returncode == 3, done.stderr
    assert "only root can make a guest" in done.stderr
    assert_nothing_was_begun(tmp_path)


def test_nobody_begins_one_without_incus(tmp_path: Path) -> None:
    # In a mount namespace of its own, where the directories of the daemon are empty.
    found = {path.parent for path in daemon._PROGRAMS if path.exists()}
    hide = " && ".join(["true", *(f"mount -t tmpfs tmpfs {place}" for place in found)])
    argv = ["unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', "sh"]
    argv += [str(BIN / "spinup_smoke"), "--target", "incus"]
    done = begin(argv, tmp_path, PATH=f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin")
    assert done.returncode == 3, done.stderr
    assert "Incus is not installed" in done.stderr
    assert_nothing_was_begun(tmp_path)


def test_nobody_begins_one_outside_a_checkout(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pyscripts" / "agency", installed / "agency", ignore=ignored)
    shutil.copy(ROOT / "secrets/catalogue.json", installed / "agency/secrets/")
    argv = [str(BIN / "spinup_smoke"), "--target", "incus"]
    done = begin(argv, tmp_path, PATH=os.environ["PATH"], PYTHONPATH=str(installed))
    assert done.returncode == 3, done.stderr
    assert "a guest is made from a checkout, and this is none" in done.stderr
    assert_nothing_was_begun(tmp_path)


def begin(argv: list[str], place: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Begin a run where nothing is: no Incus, no cache, no state."""
    environment = {
        "LANG": "C.UTF-8",
        "HOME": str(place),
        "XDG_STATE_HOME": str(place / "state"),
        "INCUS_SOCKET": str(place / "no-incus-of-the-host"),
        "AGENCY_INCUS_DIR": str(place / "incus"),
        **environ,
    }
    output = ("--output", str(place / "out" / "transcript.json"), "--json")
    return subprocess.run(
        [*argv, *output], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def assert_nothing_was_begun(place: Path) -> None:
    assert list((place / "out").glob("*")) == []
    assert list((place / "state").glob("agency/runs/run-*")) == []
    assert not (place / "incus").exists(), "no Incus was started"
