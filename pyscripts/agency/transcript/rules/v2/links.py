"""What two observations must have in common to be about the same system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agency import naming
from agency.transcript.rules.v2 import one_agency
from agency.transcript.rules.v2.activation import MAX_RESTARTS
from agency.transcript.rules.v2.agents_audit import each_on_record, logs_kept
from agency.transcript.rules.v2.model import Exchange, Predicate
from agency.transcript.rules.v2.secrecy import sought_again, tokens_sought
from agency.transcript.rules.v2.services import ALWAYS_RUNNING
from agency.transcript.rules.v2.suite import skips_of_its_image, spared_when_looked_at

Evidence = Mapping[str, Any]


def broken_links(predicate: Predicate) -> Iterator[str]:
    """Every link that does not hold. Evidence that its own rule refuses is not looked at twice."""
    seen = {entry.name: entry.evidence for entry in predicate.probes}
    problems = [
        _ask(between, seen[first], seen[second])
        for first, second, between in BETWEEN
        if first in seen and second in seen
    ]
    problems += [_ask(told, seen[name], predicate.scenario) for name, told in TOLD if name in seen]
    problems += [_ask(about, seen[name], predicate) for name, about in ABOUT if name in seen]
    yield from (problem for problem in problems if problem is not None)


def _ask(check: Callable[[Any, Any], str | None], first: object, second: object) -> str | None:
    try:
        return check(first, second)
    except (KeyError, TypeError, AttributeError):
        return None  # misshapen evidence: the probe's own rule says so


def _members(room: Evidence, health: Evidence) -> str | None:
    domain = room["alias"].partition(":")[2]
    for agent in health["agents"]:
        member = naming.matrix_id(naming.agent_localpart(agent["name"]), domain)
        if member not in room["joined"]:
            return f"control.room: the agent {agent['name']} is not among the joined"
    return None


def _all_stopped(health: Evidence, stopped: Evidence) -> str | None:
    ran = {agent["name"] for agent in health["agents"]}
    if ran != {agent["name"] for agent in stopped["agents"]}:
        return "agents.stopped: not the agents that agents.health saw"
    return None


def _one_schema(ready: Evidence, store: Evidence) -> str | None:
    if ready["schemaRevision"] != store["revision"]:
        return "store.schema: not the revision that control.ready says"
    return None


def _homeserver_runs(process: Evidence, system: Evidence) -> str | None:
    if process["pid"] not in {running["pid"] for running in system["running"]}:
        return "system.processes: the homeserver's process is not among them"
    return None


def _log_grows(replay: Evidence, chain: Evidence) -> str | None:
    if chain["count"] < replay["auditCountAfter"]:
        return "audit.chain: shorter than when scenario.replay counted it"
    return None


def _commands_told(commands: Evidence, scenario: tuple[Exchange, ...]) -> str | None:
    observed = [exchange.observed for exchange in scenario]
    for command in commands["commands"]:
        if command not in observed:
            return f"scenario: lacks the command {command['eventId']} of scenario.commands"
    return None


def _outsider(refused: Evidence, scenario: tuple[Exchange, ...]) -> str | None:
    if refused["sender"] in {entry.by for entry in scenario if entry.observed.get("ok") is True}:
        return "scenario.refused: its sender is one whose commands were carried out"
    said = {entry.observed.get("eventId"): entry.by for entry in scenario}
    if said.get(refused["eventId"]) != refused["sender"]:
        return f"scenario: lacks the command {refused['eventId']} of scenario.refused"
    return None


def _one_definition(first: Evidence, again: Evidence) -> str | None:
    if first["digests"] != again["digests"]:
        return "activation.again: not the files that activation.first laid down"
    return None


def _whole_system(image: Evidence, first: Evidence) -> str | None:
    whole = first.get("system") is not None and first.get("systemDigest") is not None
    if (image["system"] == "nixos") != whole:
        return (
            "activation.first: names the whole system where guest.image has no NixOS, or lacks it"
        )
    return None


def _carried_over(packages: Evidence, first: Evidence) -> str | None:
    if packages.get("of") != first.get("system"):
        return "activation.first: not the system whose packages guest.packages saw"
    return None


def _one_system(first: Evidence, again: Evidence) -> str | None:
    if first.get("systemDigest") != again.get("systemDigest"):
        return "activation.again: not the system that activation.first switched to"
    return None


def _units_started(first: Evidence, state: Evidence) -> str | None:
    running = {unit["name"] for unit in state["units"]}
    started = {unit["name"] for unit in first["units"] if unit["active"] == "active"}
    if not started <= running:
        lacking = ", ".join(sorted(started - running))
        return f"units.state: lacks what activation.first started: {lacking}"
    restless = sorted(unit["name"] for unit in state["units"] if unit["restarts"] > MAX_RESTARTS)
    if restless:
        return f"units.state: more than {MAX_RESTARTS} restarts: {', '.join(restless)}"
    return None


def _booted_again(running: Evidence, reboot: Evidence) -> str | None:
    if running["bootId"] != reboot["bootIdBefore"]:
        return "reboot.survived: not the machine that guest.running saw"
    return None


def _same_schema(databases: Evidence, store: Evidence) -> str | None:
    if databases["controlSchema"] != store["revision"]:
        return "database.versions: not the schema that store.schema saw"
    return None


def _chain_kept(chain: Evidence, reboot: Evidence) -> str | None:
    if reboot["auditBefore"]["count"] < chain["count"]:
        return "reboot.survived: the audit log was longer when audit.chain looked"
    return None


def _this_version(ready: Evidence, predicate: Predicate) -> str | None:
    if ready["version"] != predicate.versions.get("agency"):
        return "control.ready: not the version of the agency in versions"
    return None


def _this_guest(gone: Evidence, predicate: Predicate) -> str | None:
    if gone["name"] != f"agency-{predicate.run}":
        return "guest.gone: not the guest of this run"
    return None


def _hosts_version(host: Evidence, ready: Evidence) -> str | None:
    if host["program"]["version"] != ready["version"]:
        return "control.ready: not the version that host.system found"
    return None


def _hosts_units(_host: Evidence, state: Evidence) -> str | None:
    running = {unit["name"] for unit in state["units"] if unit["active"] == "active"}
    lacking = [name for name in ALWAYS_RUNNING if name not in running]
    return f"units.state: lacks {', '.join(lacking)}" if lacking else None


def _hosts_room(host: Evidence, room: Evidence) -> str | None:
    if room["alias"] != naming.control_room_alias(host["instance"]["domain"]):
        return "control.room: not of the instance that host.system found"
    return None


def _hosts_agents(host: Evidence, health: Evidence) -> str | None:
    known = {agent["name"] for agent in host["instance"]["agents"]}
    if {agent["name"] for agent in health["agents"]} != known:
        return "agents.health: not the agents of the instance that host.system found"
    return None


def _hosts_operators(host: Evidence, scenario: tuple[Exchange, ...]) -> str | None:
    obeyed = {entry.by for entry in scenario if entry.observed.get("said") and _carried_out(entry)}
    others = sorted(obeyed - set(host["instance"]["operators"]))
    return f"scenario: {others[0]} is no operator by host.system" if others else None


def _carried_out(exchange: Exchange) -> bool:
    return exchange.observed.get("ok") is True


BETWEEN: tuple[tuple[str, str, Callable[[Evidence, Evidence], str | None]], ...] = (
    ("control.room", "agents.health", _members),
    ("agents.health", "agents.stopped", _all_stopped),
    ("agents.health", "secrets.absent", tokens_sought),
    ("secrets.absent", "secrets.left", sought_again),
    ("control.ready", "store.schema", _one_schema),
    ("homeserver.process", "system.processes", _homeserver_runs),
    ("scenario.replay", "audit.chain", _log_grows),
    ("guest.image", "activation.first", _whole_system),
    ("guest.packages", "activation.first", _carried_over),
    ("activation.first", "activation.again", _one_definition),
    ("activation.first", "activation.again", _one_system),
    ("activation.first", "units.state", _units_started),
    ("guest.running", "reboot.survived", _booted_again),
    ("database.versions", "store.schema", _same_schema),
    ("audit.chain", "reboot.survived", _chain_kept),
    ("agents.health", "agents.audit", each_on_record),
    ("agents.audit", "reboot.survived", logs_kept),
    ("guest.image", "suite.results", skips_of_its_image),
    ("host.system", "control.ready", _hosts_version),
    ("host.system", "units.state", _hosts_units),
    ("host.system", "control.room", _hosts_room),
    ("host.system", "agents.health", _hosts_agents),
    *one_agency.BETWEEN,
)

TOLD: tuple[tuple[str, Callable[[Evidence, tuple[Exchange, ...]], str | None]], ...] = (
    ("scenario.commands", _commands_told),
    ("scenario.refused", _outsider),
    ("suite.host", spared_when_looked_at),
    ("host.system", _hosts_operators),
    *one_agency.TOLD,
)

ABOUT: tuple[tuple[str, Callable[[Evidence, Predicate], str | None]], ...] = (
    ("control.ready", _this_version),
    ("guest.gone", _this_guest),
    *one_agency.ABOUT,
)
