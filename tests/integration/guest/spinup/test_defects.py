"""A guest that is broken never yields PASSED: real defects, planted in a copy of the sources."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driving import SpinUp

Make = Callable[..., SpinUp]
Change = Callable[[str, Callable[[str], str]], Path]

PORTABLE = "modules/portable/machine/etc"
CONTROL = f"{PORTABLE}/systemd/system/agency-control.service"
AGENT = f"{PORTABLE}/systemd/system/agency-agent@.service"
FIREWALL = f"{PORTABLE}/nftables.d/agency-agents.nft"


def before(line: str, extra: str) -> Callable[[str], str]:
    """Put a line of a unit before the first that begins so."""

    def change(text: str) -> str:
        assert f"\n{line}" in text
        return text.replace(f"\n{line}", f"\n{extra}\n{line}", 1)

    return change


def failed(run_up: SpinUp, ground: Any) -> dict[str, Any]:
    """What every failed spin-up owes: exit status, a signed transcript, and nothing left."""
    run = run_up.run
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert predicate["result"] == "FAILED"
    checked = run_up.verify()
    assert checked.returncode == 1
    assert "authentic" in checked.stdout
    assert "result: FAILED" in run_up.text
    ground.assert_nothing_left(run)
    return predicate


def failed_probes(predicate: dict[str, Any]) -> dict[str, str]:
    return {p["name"]: p["reason"] for p in predicate["probes"] if p["status"] == "failed"}


def failed_claims(predicate: dict[str, Any]) -> set[str]:
    """The claims of which a test of the suite failed."""
    (seen,) = [p["evidence"] for p in predicate["probes"] if p["name"] == "suite.results"]
    return {t["claim"] for t in seen["tests"] if t["outcome"] == "failed"}


def test_a_unit_that_fails_is_in_the_transcript_with_its_journal(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    said = "the disk of this machine is made of cheese"
    start = before("ExecStart=", f"ExecStartPre=/bin/sh -c 'echo {said}; exit 1'")
    predicate = failed(spinup(checkout=changed_checkout(CONTROL, start)).start(), ground)
    assert predicate["failure"]["step"] == "activate"
    assert "agency-control.service" in predicate["failure"]["message"]
    assert any(said in line for line in predicate["failure"]["logTail"])


# A secret that stands somewhere is no secret that was delivered and nothing else.
FOUND = {"secrets.absent", "secret.delivered"}


def test_a_secret_in_the_journal_and_what_an_agent_leaves_running_are_found(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    """Two defects in one guest: neither hides the other, and nothing else is found."""
    leak = before("ExecStart=", "ExecStartPre=+/bin/cat /run/secrets/matrix-hs-token")
    checkout = changed_checkout(CONTROL, leak)
    leave = before("ExecStart=", "KillMode=process\nExecStartPost=/bin/sh -c '/bin/sleep 600 &'")
    (checkout / AGENT).write_text(leave((checkout / AGENT).read_text()))
    predicate = failed(spinup("--fail-fast", checkout=checkout).start(), ground)
    found = failed_probes(predicate)
    assert set(found) == {*FOUND, "agents.stopped"}
    assert "secrets.absent: findings" in predicate["failure"]["message"], "it ended there"
    seen = {p["name"]: p["evidence"] for p in predicate["probes"]}
    assert seen["secrets.absent"]["places"] == ["journal"]
    assert "unit.processes: must be 0" in found["agents.stopped"]
    agents = seen["agents.stopped"]["agents"]
    assert {agent["processGone"] for agent in agents} == {True}, "its main process is"
    assert {agent["unit"]["processes"] for agent in agents} != {0}


@pytest.mark.thorough
def test_a_token_that_is_told_is_redacted_though_its_agent_is_gone(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    def tell(text: str) -> str:
        runs = "runs, with {with_project(project)} ({seen.known_as})"
        return text.replace(runs, runs + " token <{self.runtime.endpoint(entry.name).token}>")

    checkout = changed_checkout("pyscripts/agency/control/execution/lifecycle.py", tell)
    predicate = failed(spinup("--fail-fast", checkout=checkout).start(), ground)
    assert set(failed_probes(predicate)) == FOUND
    (seen,) = [p["evidence"] for p in predicate["probes"] if p["name"] == "secrets.absent"]
    assert "evidence" in seen["places"]  # and in the store, which keeps what is to be sent
    # Two agents were started, and the first once more: with another token, which ended its first.
    replies = [said["observed"].get("reply", "") for said in predicate["scenario"]]
    tokens = [reply.split("<")[1].split(">")[0] for reply in replies if "token <" in reply]
    assert tokens == ["[***]"] * 3


@pytest.mark.thorough
def test_a_control_plane_that_forgets_is_noticed(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    forget = before("ExecStart=", "ExecStartPre=/bin/sh -c 'rm -f /var/lib/agency-control/*.db*'")
    predicate = failed(spinup(checkout=changed_checkout(CONTROL, forget)).start(), ground)
    found = failed_probes(predicate)
    assert "reboot.survived" in found


# One entry that journalctl, left alone, neither prints as text nor prints at all.
SAY = "{ printf '\\033'; head -c 8000 /dev/zero | tr '\\0' x; cat /run/secrets/matrix-hs-token; }"

# Runs at the next boot alone. Not `systemctl disable`: the control plane demands the firewall, and
# would bring it back.
LATER = "/etc/systemd/system/forget.service"
FORGET = """[Unit]
After=nftables.service
Before=matrix-synapse.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/nft delete table inet agency-agents
"""


def test_an_open_firewall_an_unconfined_agent_and_what_goes_wrong_late_are_noticed(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    """And a secret that is logged after the conversation; a firewall that does not come back.

    Four defects in one guest: none hides another.
    """
    opened = before("  # Nobody but its owner", "  accept")
    checkout = changed_checkout(FIREWALL, opened)
    unit = (checkout / AGENT).read_text()
    loose = unit.replace("ProtectHome=", "#ProtectHome=")
    loose = loose.replace("ProtectSystem=", "#ProtectSystem=")
    assert loose.count("#Protect") == 2
    (checkout / AGENT).write_text(loose)
    run_up = spinup(checkout=checkout).start()
    name = f"agency-{run_up.run}"
    run_up.reach("login")
    ground.exec(name, "sh", "-c", f"{SAY} | systemd-cat")
    run_up.reach("isolation")
    wants = "/etc/systemd/system/multi-user.target.wants"
    ground.exec(name, "sh", "-c", f"printf '%s' \"$0\" > {LATER}; ln -s {LATER} {wants}", FORGET)
    predicate = failed(run_up, ground)
    found = failed_probes(predicate)
    assert set(found) == {"suite.results", "reboot.survived", "secrets.left"}, found
    claims = failed_claims(predicate)
    assert {"egress-undeclared", "homes-of-others-hidden", "system-read-only"} <= claims
    assert "firewallAfter" in found["reboot.survived"]
    seen = {probe["name"]: probe["evidence"] for probe in predicate["probes"]}
    assert seen["secrets.left"]["places"] == ["journal"]
    rebooted = seen["reboot.survived"]
    assert rebooted["state"] == "running", "systemd itself is content"
    assert {unit["active"] for unit in rebooted["units"]} == {"active"}, "so is each service"
    assert rebooted["firewallAfter"] == "absent"


# Alters one letter of an agent's first record, in place, as soon as there is one.
ALTER = """
import pathlib, subprocess, sys, time
log = pathlib.Path(sys.argv[1])
while not (log.exists() and log.read_bytes().count(b"\\n")):
    time.sleep(0.05)
subprocess.run(["chattr", "-a", str(log)], stderr=subprocess.DEVNULL)
with log.open("r+b") as file:
    at = file.readline().index(b'"event":"') + len(b'"event":"')
    file.seek(at)
    file.write(b"x")
"""


@pytest.mark.thorough
def test_a_record_of_an_agent_that_was_altered_is_noticed(spinup: Make, ground: Any) -> None:
    run_up = spinup("--fail-fast").start()
    name = f"agency-{run_up.run}"
    run_up.reach("scenario")
    ground.exec(name, "python3", "-I", "-c", ALTER, "/var/log/agency-agents/pm.jsonl")
    predicate = failed(run_up, ground)
    assert "verified: must be True" in failed_probes(predicate)["agents.audit"]
    (seen,) = [p["evidence"] for p in predicate["probes"] if p["name"] == "agents.audit"]
    broken = {log["name"]: log.get("broken") for log in seen["agents"]}
    assert (broken["pm"]["file"], broken["pm"]["line"]) == ("pm.jsonl", 1)
    assert [agent for agent in broken if broken[agent]] == ["pm"]


def test_a_guest_that_ends_by_itself_is_noticed(spinup: Make, ground: Any) -> None:
    run_up = spinup().start()
    name = f"agency-{run_up.run}"
    run_up.reach("activate")
    ended = ground.end(name)
    predicate = failed(run_up, ground)
    assert ended
    assert predicate["failure"]["step"] == "activate"
    assert "ended by itself" in predicate["failure"]["message"]


@pytest.mark.thorough
def test_a_homeserver_that_is_killed_in_mid_conversation_is_noticed(
    spinup: Make, ground: Any
) -> None:
    run_up = spinup().start()
    name = f"agency-{run_up.run}"
    run_up.reach("scenario")
    ground.exec(name, "systemctl", "kill", "--signal=KILL", "matrix-synapse.service")
    ground.exec(name, "systemctl", "mask", "--runtime", "--now", "matrix-synapse.service")
    predicate = failed(run_up, ground)
    assert predicate["failure"]["step"] == "scenario"
    assert any("matrix-synapse" in line for line in predicate["failure"]["logTail"])


def test_a_guest_that_does_not_boot_in_time_is_noticed(spinup: Make, ground: Any) -> None:
    predicate = failed(spinup("--boot-timeout", "0.05").start(), ground)
    assert predicate["failure"]["step"] == "create"
    assert "after 0.05 s, not running" in predicate["failure"]["message"]


def test_an_image_that_cannot_be_built_is_explained(
    spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    recipe = "pyscripts/agency/guests/images/recipe.py"

    def misspell(text: str) -> str:
        return text.replace('"nginx-light"', '"nginx-of-nowhere"')

    predicate = failed(spinup(checkout=changed_checkout(recipe, misspell)).start(), ground)
    assert predicate["failure"]["step"] == "image"
    assert any("nginx-of-nowhere" in line for line in predicate["failure"]["logTail"])


def test_a_disk_without_room_is_said_so(ground: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0711", "agency-test", str(state)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        environment = {**ground.environment(), "XDG_STATE_HOME": str(state)}
        run_up = SpinUp(
            tmp_path, ("--target", "incus"), state=state, environment=environment
        ).start()
        assert run_up.end() == 1, run_up.text
        predicate = run_up.predicate()
        assert predicate["failure"]["step"] == "image"
        assert "not enough disk space" in predicate["failure"]["message"]
        assert run_up.verify().returncode == 1
        assert list((state / "agency" / "guest").glob("*/.making.*")) == []
    finally:
        subprocess.run(["umount", str(state)], check=True, timeout=30)
    ground.assert_nothing_left(predicate["run"])
