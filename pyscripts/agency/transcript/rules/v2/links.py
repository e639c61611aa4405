"""Links: what observations must have in common to be of one agency.

A row of LINKS: a probe and a path in its evidence, how the values there must stand to those of
another probe, and after the colon the words of the refusal. It is looked at where both probes are
there. `run` is the transcript itself (`_run`). What one row cannot say, a function in CHECKS does.

A path leads to values: `a.b` to a field of a field, `a[]` to every item of a list, `a[active]` to
the items whose field `active` is that word, `a?` to a field that may be missing, and `a|domain` to
what FORMS makes of a value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agency import naming
from agency.transcript.rules.v1.activation import MAX_RESTARTS
from agency.transcript.rules.v1.agents_audit import logs_kept
from agency.transcript.rules.v1.services import ALWAYS_RUNNING
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.rules.v2.shop import other_instance
from agency.transcript.rules.v2.suite import skips_of_its_image, spared_when_looked_at

Evidence = Mapping[str, Any]
Values = list[Any]

LINKS = """
agents.stopped agents[].name same agents.health agents[].name: not the agents that agents.health saw
agents.audit agents[].name has agents.health agents[].name: nothing on record of
store.schema revision == control.ready schemaRevision: not the revision that control.ready says
database.versions controlSchema == store.schema revision: not the schema that store.schema saw
homeserver.process pid in system.processes running[].pid: its process is not among those that ran:
audit.chain count >= scenario.replay auditCountAfter: shorter than when scenario.replay counted it
approval.granted audit[].sequence <= audit.chain count: more rows than audit.chain verified
approval.granted requester in run obeyed[]: nobody whose commands were carried out:
secret.delivered audit[].sequence <= audit.chain count: more rows than audit.chain verified
secret.delivered search.secretsChecked == secrets.absent secretsChecked: not its search
secret.delivered search.filesSearched == secrets.absent filesSearched: not its search
agent.respawned before.pid == secret.delivered held.pid: not the process that held the secret
agent.respawned before.incarnation == secret.delivered held.incarnation: not what held the secret
agent.respawned after.pid in system.processes running[].pid: is not among those that ran:
agent.respawned audit[].sequence <= audit.chain count: more rows than audit.chain verified
login.oidc userId|domain == control.room alias|domain: not an account of the domain of control.room

secrets.absent secretsChecked > agents.health agents|count: did not look for every agent's token
secrets.left secretsChecked >= secrets.absent secretsChecked: looked for fewer secrets than before

edge.client-address userId|domain == control.room alias|domain: not of the domain of control.room
edge.login userId|domain == control.room alias|domain: not an account of the domain of control.room
edge.login connection.validTo == edge.tls sites[].notAfter: not the certificate that edge.tls saw
backup.restored auditBefore.count >= scenario.replay auditCountAfter: the log was longer before
audit.chain count >= backup.restored continues: shorter than when backup.restored verified it
backup.restored instance == shop.services instance.name: not of the instance of shop.services
alerts.delivered roomId == control.room roomId: not the room of control.room
alerts.delivered messages[].sender|domain == control.room alias|domain: not by this control plane

guest.running image == guest.image fingerprint: not of the image that guest.image names
guest.running kind == guest.image kind: not of the kind that guest.image names
control.ready version == guest.packages python.agency: not the agency's version in guest.packages
activation.first system? == guest.packages of?: not the system whose packages guest.packages saw
activation.again digests == activation.first digests: not the files of activation.first
activation.again systemDigest? == activation.first systemDigest?: not that of activation.first
activation.again expected == activation.first expected: not the units of activation.first
units.state units[].name has activation.first units[active].name: lacks what was started:
reboot.survived bootIdBefore == guest.running bootId: not the machine that guest.running saw
reboot.survived auditBefore.count >= audit.chain count: the audit log was longer before
reboot.survived units[].name has activation.first expected.running[]: lacks what is to run:
reboot.survived roomMembersBefore[] has control.room joined[]: lacks members of control.room:

control.ready version == host.system program.version: not the version that host.system found
control.room alias == host.system instance.domain|room: not of the instance that host.system found
agents.health agents[].name same host.system instance.agents[].name: not those of host.system
shop.services instance.domain == control.room alias|domain: not of the domain of control.room
shop.services instance.domain == host.system instance.domain: not of what host.system found
shop.services instance.name == host.system instance.name: not of what host.system found
host.system instance.operators[] has run ordered[]: lacks the operator

control.ready version == run version: not the version of the agency in versions
guest.gone name == run guest: not the guest of this run
quarantine.outbound mode in run modes[]: not how a spin-up of this target is kept in:
run observed[] has scenario.commands commands[]: lacks the command
scenario.refused sender outside run obeyed[]: its sender is one whose commands were carried out
reboot.survived userId in run obeyed[]: userId is nobody whose commands were carried out:
"""


def _run(predicate: Predicate) -> Evidence:
    """Return the facts of the transcript itself that rows compare evidence with."""
    done = [said for said in predicate.scenario if said.observed.get("ok") is True]
    return {
        "version": predicate.versions.get("agency"),
        "guest": f"agency-{predicate.run}",
        "modes": ["none", _MODES.get(predicate.target)],
        "observed": [said.observed for said in predicate.scenario],
        "obeyed": [said.by for said in done],
        # Who approves what others ask for need be no operator.
        "ordered": [said.by for said in done if _orders(said.observed.get("said"))],
    }


def _orders(said: Any) -> bool:
    return bool(said) and not str(said).startswith("!agency approvals ")


# How a target's spin-up is kept from the network, where it is.
_MODES = {"local": "network-namespace", "incus": "guest", "ssh": "guest"}

FORMS: Mapping[str, Callable[[Any], object]] = {
    "": lambda value: value,
    "count": len,
    "domain": lambda full_id: full_id.partition(":")[2],
    "room": naming.control_room_alias,
}


def _each(compare: Callable[[Any, Any], bool]) -> Callable[[Values, Values], Values]:
    return lambda left, right: [value for value in left if not compare(value, right[0])]


# Each returns the values that are wrong.
OPERATORS: Mapping[str, Callable[[Values, Values], Values]] = {
    "==": _each(operator.eq),
    "<=": _each(operator.le),
    ">": _each(operator.gt),
    ">=": _each(operator.ge),
    "has": lambda left, right: [value for value in right if value not in left],
    "in": lambda left, right: [value for value in left if value not in right],
    "outside": lambda left, right: [value for value in left if value in right],
    "same": lambda left, right: [*{*left} ^ {*right}],
}
_NAMING = ("has", "in")  # the operators whose wrong values are told


@dataclass(frozen=True, slots=True)
class Link:
    """Row of LINKS."""

    first: str
    path: str
    relation: str
    second: str
    other: str
    words: str

    @classmethod
    def parse(cls, row: str) -> Link:
        """Parse a row."""
        terms, _, words = row.partition(": ")
        first, path, relation, second, other = terms.split()
        return cls(first, path, relation, second, other, words)

    def problem(self, evidence: Evidence, others: Evidence) -> str | None:
        """Return how the link does not hold, or None."""
        compare = OPERATORS[self.relation]
        wrong = compare(values(evidence, self.path), values(others, self.other))
        if not wrong:
            return None
        named = {str(one.get("eventId") if isinstance(one, dict) else one) for one in wrong}
        shown = " " + ", ".join(sorted(named)) if self.relation in _NAMING else ""
        return f"{self.first}: {self.words}{shown}"


def values(evidence: Evidence, path: str) -> Values:
    """Return the values that a path leads to."""
    fields, _, form = path.partition("|")
    found: Values = [evidence]
    for field in fields.split("."):
        name, _, chosen = field.rstrip("]").partition("[")
        if name.endswith("?"):
            found = [value.get(name[:-1]) for value in found]
        else:
            found = [value[name] for value in found]
        if field.endswith("]"):
            items = [item for value in found for item in value]
            found = [item for item in items if not chosen or item["active"] == chosen]
    return [FORMS[form](value) for value in found]


ROWS = tuple(Link.parse(row) for row in LINKS.splitlines() if row)


def broken_links(predicate: Predicate) -> Iterator[str]:
    """Yield every link that does not hold. Evidence that its own rule refuses is passed over."""
    seen: dict[str, Any] = {entry.name: entry.evidence for entry in predicate.probes}
    seen |= {"run": _run(predicate), "transcript": predicate}
    checks = [(row.problem, row.first, row.second) for row in ROWS]
    for check, first, second in (*checks, *CHECKS):
        if first in seen and second in seen:
            try:
                problem = check(seen[first], seen[second])
            except (KeyError, TypeError, AttributeError):
                continue  # misshapen evidence: the probe's own rule says so
            if problem is not None:
                yield problem


def _members(room: Evidence, health: Evidence) -> str | None:
    domain = room["alias"].partition(":")[2]
    healthy = {
        naming.matrix_id(naming.agent_localpart(agent["name"]), domain)
        for agent in health["agents"]
    }
    prefix = "@" + naming.agent_localpart("")
    joined = {member for member in room["joined"] if member.startswith(prefix)}
    if not healthy <= joined:
        return f"control.room: the agent {min(healthy - joined)} is not among the joined"
    if not joined <= healthy:
        return f"agents.health: lacks the agent {min(joined - healthy)} of control.room"
    return None


def _stopped_ran(stopped: Evidence, system: Evidence) -> str | None:
    ran = {process["name"]: process["pid"] for process in system["running"]}
    for agent in stopped["agents"]:
        if ran.get(naming.agent_localpart(agent["name"])) != agent["pid"]:
            return f"agents.stopped: not the process of {agent['name']} in system.processes"
    return None


def _whole_system(image: Evidence, first: Evidence) -> str | None:
    whole = first.get("system") is not None and first.get("systemDigest") is not None
    if (image["system"] == "nixos") != whole:
        return "activation.first: names a whole system where guest.image has no NixOS, or lacks it"
    return None


def _calm(state: Evidence, _first: Evidence) -> str | None:
    restless = [unit["name"] for unit in state["units"] if unit["restarts"] > MAX_RESTARTS]
    if restless:
        return f"units.state: more than {MAX_RESTARTS} restarts: {', '.join(sorted(restless))}"
    return None


def _always_running(state: Evidence, _host: Evidence) -> str | None:
    missing = {*ALWAYS_RUNNING} - {*values(state, "units[active].name")}
    return f"units.state: lacks {', '.join(sorted(missing))}" if missing else None


def _one_firewall(drift: Evidence, reboot: Evidence) -> str | None:
    healed = {one["after"] for one in drift["planted"] if one["what"].startswith("firewall ")}
    if healed != {reboot["firewallBefore"]}:
        return "reboot.survived: not the firewall that activation.drift left"
    return None


def _sites(tls: Evidence, room: Evidence) -> str | None:
    domain = room["alias"].partition(":")[2]
    wanted = {domain, *(naming.public_host(one, domain) for one in ("matrix", "element"))}
    missing = wanted - {site["host"] for site in tls["sites"]}
    return f"edge.tls: lacks {', '.join(sorted(missing))}" if missing else None


def _refused(refused: Evidence, predicate: Predicate) -> str | None:
    said = {entry.observed.get("eventId"): entry.by for entry in predicate.scenario}
    if said.get(refused["eventId"]) != refused["sender"]:
        return f"scenario: lacks the command {refused['eventId']} of scenario.refused"
    return None


def _by_systemd(agents: Evidence, predicate: Predicate) -> str | None:
    for agent in agents["agents"]:
        if predicate.target != "local" and agent.get("unit") is None:
            return f"agents: nothing is said of the unit that runs {agent['name']}"
    return None


def _replayed_ran(replay: Evidence, predicate: Predicate) -> str | None:
    """Compare the process of the replay with those that ran; one may have been killed since."""
    seen: dict[str, Any] = {entry.name: entry.evidence for entry in predicate.probes}
    ran = values(seen["system.processes"], "running[].pid")
    killed = values(seen["agent.respawned"], "before.pid") if "agent.respawned" in seen else []
    if replay["pidAfter"] not in (*ran, *killed):
        return f"scenario.replay: its process is not among those that ran: {replay['pidAfter']}"
    return None


def _one_secret(approval: Evidence, delivered: Evidence) -> str | None:
    if approval["asked"]["target"] != f"secret {delivered['secret']}":
        return "approval.granted: not of the secret of secret.delivered"
    if approval["secretBefore"]["agents"] != [delivered["agent"]]:
        return "approval.granted: secretBefore is not bound to the agent of secret.delivered"
    return None


def _by_the_control_plane(seen: Evidence, room: Evidence) -> str | None:
    bot = naming.matrix_id(naming.CONTROL_LOCALPART, room["alias"].partition(":")[2])
    message = seen["prompt"] if "prompt" in seen else seen["notice"]
    return None if message["sender"] == bot else f"{message['sender']} is not the control plane"


def _said_so(approval: Evidence, predicate: Predicate) -> str | None:
    """Compare who asked and approved with the scenario: each by the event of their message."""
    said = {entry.observed.get("eventId"): entry.by for entry in predicate.scenario}
    wanted = [(approval["requestId"], approval["requester"])]
    wanted += [
        (one["eventId"], one["by"]) for one in (approval["ownApproval"], *approval["grants"])
    ]
    for event, by in wanted:
        if said.get(event) != by:
            return f"approval.granted: the scenario lacks {event} by {by}"
    return None


def _asked_for(delivered: Evidence, predicate: Predicate) -> str | None:
    said = {entry.observed.get("eventId"): entry.said for entry in predicate.scenario}
    name, agent = delivered["secret"], delivered["agent"]
    wanted = {
        delivered["setId"]: f"!agency secrets set {name}",
        delivered["bindId"]: f"!agency secrets bind {name} {agent}",
    }
    for event, text in wanted.items():
        if said.get(event) != text:
            return f"secret.delivered: the scenario lacks {text}"
    if not any(delivered["mark"] in text for text in said.values()):
        return "secret.delivered: nobody said what was planted"
    return None


def _worked_before(delivered: Evidence, predicate: Predicate) -> str | None:
    """Compare who held the secret with the agents seen before: by pid, or by that of the replay."""
    seen: dict[str, Any] = {entry.name: entry.evidence for entry in predicate.probes}
    known = {one["name"]: one["pid"] for one in seen["agents.health"]["agents"]}
    pids = (known.get(delivered["agent"]), seen["scenario.replay"]["pidAfter"])
    if delivered["held"]["pid"] not in pids:
        return "secret.delivered: not the process of an agent that agents.health saw"
    return None


def _killed_there(respawned: Evidence, predicate: Predicate) -> str | None:
    means = "SIGKILL" if predicate.target == "local" else "SIGTERM"
    if respawned["killed"]["signal"] != means:
        return f"agent.respawned: not by {means}, which no runtime of this target mends itself"
    return None


CHECKS: tuple[tuple[Callable[[Any, Any], str | None], str, str], ...] = (
    (_members, "control.room", "agents.health"),
    (_stopped_ran, "agents.stopped", "system.processes"),
    (_whole_system, "guest.image", "activation.first"),
    (_calm, "units.state", "activation.first"),
    (_always_running, "units.state", "host.system"),
    (_one_firewall, "activation.drift", "reboot.survived"),
    (logs_kept, "agents.audit", "reboot.survived"),
    (skips_of_its_image, "guest.image", "suite.results"),
    (spared_when_looked_at, "suite.host", "transcript"),
    (_sites, "edge.tls", "control.room"),
    (other_instance, "shop.services", "transcript"),
    (_refused, "scenario.refused", "transcript"),
    (_by_systemd, "agents.health", "transcript"),
    (_by_systemd, "agents.stopped", "transcript"),
    (_replayed_ran, "scenario.replay", "transcript"),
    (_one_secret, "approval.granted", "secret.delivered"),
    (_by_the_control_plane, "approval.granted", "control.room"),
    (_by_the_control_plane, "agent.respawned", "control.room"),
    (_said_so, "approval.granted", "transcript"),
    (_asked_for, "secret.delivered", "transcript"),
    (_worked_before, "secret.delivered", "transcript"),
    (_killed_there, "agent.respawned", "transcript"),
)
