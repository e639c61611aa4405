"""What observations of a guest, its agents and its people must have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agency.transcript.rules.v1 import naming
from agency.transcript.rules.v1.model import Exchange, Predicate

Evidence = Mapping[str, Any]

# How a target's spin-up is kept from the network, where it is; and who runs its agents.
_MODES = {"local": "network-namespace", "incus": "guest", "ssh": "guest"}
_BY_SYSTEMD = ("incus", "ssh")


def _every_agent(room: Evidence, health: Evidence) -> str | None:
    domain = room["alias"].partition(":")[2]
    healthy = {
        naming.matrix_id(naming.agent_localpart(agent["name"]), domain)
        for agent in health["agents"]
    }
    agent = "@" + naming.agent_localpart("")
    for member in room["joined"]:
        if member.startswith(agent) and member not in healthy:
            return f"agents.health: lacks the agent {member} of control.room"
    return None


def _stopped_ran(stopped: Evidence, system: Evidence) -> str | None:
    ran = {process["name"]: process["pid"] for process in system["running"]}
    for agent in stopped["agents"]:
        if ran.get(naming.agent_localpart(agent["name"])) != agent["pid"]:
            return f"agents.stopped: not the process of {agent['name']} in system.processes"
    return None


def _replayed_ran(replay: Evidence, system: Evidence) -> str | None:
    if replay["pidAfter"] not in {process["pid"] for process in system["running"]}:
        return "scenario.replay: its process is not among those of system.processes"
    return None


def _one_version(packages: Evidence, ready: Evidence) -> str | None:
    if packages["python"]["agency"] != ready["version"]:
        return "control.ready: not the version of the agency in guest.packages"
    return None


def _made_of(image: Evidence, running: Evidence) -> str | None:
    if image["fingerprint"] != running["image"]:
        return "guest.running: not of the image that guest.image names"
    if image["kind"] != running["kind"]:
        return "guest.running: not of the kind that guest.image names"
    return None


def _expected_again(first: Evidence, again: Evidence) -> str | None:
    if first["expected"] != again["expected"]:
        return "activation.again: not the units that activation.first was to start"
    return None


def _up_again(first: Evidence, reboot: Evidence) -> str | None:
    missing = {*first["expected"]["running"]} - {unit["name"] for unit in reboot["units"]}
    if missing:
        return f"reboot.survived: lacks what is to run: {', '.join(sorted(missing))}"
    return None


def _one_firewall(drift: Evidence, reboot: Evidence) -> str | None:
    healed = {one["after"] for one in drift["planted"] if one["what"].startswith("firewall ")}
    if healed != {reboot["firewallBefore"]}:
        return "reboot.survived: not the firewall that activation.drift left"
    return None


def _one_room(room: Evidence, reboot: Evidence) -> str | None:
    if not {*room["joined"]} <= {*reboot["roomMembersBefore"]}:
        return "reboot.survived: lacks members that control.room saw"
    return None


def _one_domain(room: Evidence, login: Evidence) -> str | None:
    if login["userId"].partition(":")[2] != room["alias"].partition(":")[2]:
        return "login.oidc: not an account of the domain of control.room"
    return None


def _same_person(reboot: Evidence, scenario: tuple[Exchange, ...]) -> str | None:
    if reboot["userId"] not in {said.by for said in scenario if said.observed.get("ok") is True}:
        return "reboot.survived: userId is nobody whose commands were carried out"
    return None


def _kept_in(outbound: Evidence, predicate: Predicate) -> str | None:
    if outbound["mode"] not in ("none", _MODES.get(predicate.target)):
        return f"quarantine.outbound: not how the target {predicate.target} is kept in"
    return None


def _by_systemd(agents: Evidence, predicate: Predicate) -> str | None:
    if predicate.target not in _BY_SYSTEMD:
        return None
    for agent in agents["agents"]:
        if agent.get("unit") is None:
            return f"agents: nothing is said of the unit that runs {agent['name']}"
    return None


BETWEEN: tuple[tuple[str, str, Callable[[Evidence, Evidence], str | None]], ...] = (
    ("control.room", "agents.health", _every_agent),
    ("agents.stopped", "system.processes", _stopped_ran),
    ("scenario.replay", "system.processes", _replayed_ran),
    ("guest.packages", "control.ready", _one_version),
    ("guest.image", "guest.running", _made_of),
    ("activation.first", "activation.again", _expected_again),
    ("activation.first", "reboot.survived", _up_again),
    ("activation.drift", "reboot.survived", _one_firewall),
    ("control.room", "reboot.survived", _one_room),
    ("control.room", "login.oidc", _one_domain),
)

TOLD: tuple[tuple[str, Callable[[Evidence, tuple[Exchange, ...]], str | None]], ...] = (
    ("reboot.survived", _same_person),
)

ABOUT: tuple[tuple[str, Callable[[Evidence, Predicate], str | None]], ...] = (
    ("quarantine.outbound", _kept_in),
    ("agents.health", _by_systemd),
    ("agents.stopped", _by_systemd),
)
