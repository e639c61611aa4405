"""Conflicts between parts of an instance that are each valid alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from agency import naming
from agency.instance.problems import Loc
from agency.paths import is_in_own_directory

# Lists of people, as instance.yaml names them.
PEOPLE = ("operators", "approvers", "viewers")


class Asking(Protocol):
    """The parts of a program that can conflict with others."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def run(self) -> Sequence[str]:
        """The parts of a command-line agent."""

    @property
    def allowed(self) -> Sequence[str]:
        """The models that it may ask."""


class AgentNumbers(Protocol):
    """The parts of an agent that can conflict with others."""

    @property
    def uid(self) -> int | None:
        """The uid that the instance sets, if it sets one."""

    @property
    def port(self) -> int | None:
        """The port that the instance sets, if it sets one."""

    @property
    def runtime(self) -> str:
        """The runtime that runs it."""

    @property
    def spare(self) -> bool:
        """True if it is a slot."""

    @property
    def program(self) -> Asking | None:
        """The program that works in it."""


class Conflict(NamedTuple):
    """One conflict: its location, and a message with the remedy."""

    loc: Loc
    message: str


class Rule(Protocol):
    """The parts of an approval rule that can conflict with others."""

    @property
    def agents(self) -> Sequence[str]:
        """The agents that it is about; all if there are none."""

    @property
    def quorum(self) -> int:
        """The number of people beside who asks that must approve."""


class Person(NamedTuple):
    """A person in one of the lists, by full Matrix id."""

    loc: Loc
    who: str

    @property
    def decides(self) -> bool:
        """True if they may approve what another person asked for."""
        return self.loc[0] in ("operators", "approvers")


def conflicts(
    domain: str | None,
    people: Sequence[Person],
    agents: Mapping[str, AgentNumbers],
    rules: Mapping[str, Rule],
    *,
    reachable: bool,
    solo: bool,
    image: bool,
    models: Collection[str] | None = (),
) -> tuple[Conflict, ...]:
    """Find every conflict among the known parts.

    A disabled agent keeps its numbers, so it counts. `reachable` says whether people of other
    homeservers can be in the control room, `solo` whether one person alone may approve, `image`
    whether agents in containers have one. `models` are those that are offered; None if unknown.
    """
    return (
        *_people(domain, people, agents),
        *(() if reachable or domain is None else _strangers(domain, people)),
        *_rules(people, agents, rules, solo=solo),
        *_uids(agents),
        *_ports(agents),
        *(() if image else _without_image(agents)),
        *_programs(agents, models),
    )


def _people(
    domain: str | None, people: Sequence[Person], agents: Mapping[str, AgentNumbers]
) -> Iterator[Conflict]:
    own: set[str] = set()
    if domain is not None:
        localparts = [naming.CONTROL_LOCALPART, *map(naming.agent_localpart, agents)]
        own = {naming.matrix_id(localpart, domain) for localpart in localparts}
    namespace = f"@{naming.agent_localpart('')}"
    seen: dict[str, Loc] = {}
    for loc, who in people:
        if who in seen:
            also = "" if seen[who][0] == loc[0] else f", among {seen[who][0]} too"
            yield Conflict(loc, f"{who} is listed twice{also}; remove one")
        if who in own:
            yield Conflict(loc, f"{who} is a Matrix id of the agency itself; name a person")
        elif domain is not None and who.startswith(namespace) and who.endswith(f":{domain}"):
            yield Conflict(
                loc,
                f"{who} lies among the agents' Matrix ids ({namespace}...), and would not be "
                "heard; name a person",
            )
        seen.setdefault(who, loc)


def _strangers(domain: str, people: Sequence[Person]) -> Iterator[Conflict]:
    """Find the people who have their account on a homeserver that cannot be reached."""
    for loc, who in people:
        localpart, _, server = who[1:].partition(":")
        if server != domain:
            yield Conflict(
                loc,
                f"{who} has an account on {server}, and could not command: federation is off, so "
                f"that only accounts of {domain} can be in the control room; write "
                f"{naming.matrix_id(localpart, domain)}, or set `services: {{matrix: {{federation: "
                "true}}`",
            )


def _rules(
    people: Sequence[Person],
    agents: Mapping[str, AgentNumbers],
    rules: Mapping[str, Rule],
    *,
    solo: bool,
) -> Iterator[Conflict]:
    """Find approval rules about no agent, and those by which nothing could ever be approved."""
    deciding = {person.who for person in people if person.decides}
    others = len(deciding) - 1
    for name, rule in rules.items():
        loc: Loc = ("approvals", "rules", name)
        for agent in rule.agents:
            if agent not in agents:
                yield Conflict((*loc, "agents"), f"there is no agent {agent!r}; name one, or none")
        if others >= rule.quorum or (solo and others == 0 and rule.quorum == 1):
            continue
        remedy = "or set approvals.soloDelay" if others == 0 and rule.quorum == 1 else "or ask less"
        yield Conflict(
            (*loc, "quorum"),
            f"{rule.quorum} beside who asks must approve, and there are {max(others, 0)}; name "
            f"more operators or approvers, {remedy}",
        )


def _without_image(agents: Mapping[str, AgentNumbers]) -> Iterator[Conflict]:
    for name, agent in agents.items():
        if agent.runtime == "docker":
            yield Conflict(
                ("agents", name, "runtime"),
                "runs in a container, and docker names no image; run `make agent-image` on the "
                "machine, and set `docker: {image, imageId}` as it prints them",
            )


def _programs(
    agents: Mapping[str, AgentNumbers], models: Collection[str] | None
) -> Iterator[Conflict]:
    for name, agent in agents.items():
        if agent.program is None:
            continue
        loc: Loc = ("agents", name, "program")
        if agent.spare and agent.runtime != "docker":
            told = (
                "in a slot of a host's users, the next agent would find what this program kept; "
                "set `runtime: docker`, where it is erased with the agent, or leave program out"
            )
            yield Conflict(loc, told)
        if agent.runtime == "docker":
            for part in agent.program.run:
                if not is_in_own_directory(Path(part)):
                    told = (
                        f"the directory of {part} is shown in its container, and would hide that "
                        "of the image; put it in one of its own, such as /opt/NAME"
                    )
                    yield Conflict(loc, told)
        for model in agent.program.allowed:
            if models is not None and model not in models:
                offered = f"one of {', '.join(models)}" if models else "set `models` first"
                yield Conflict(loc, f"there is no model {model!r} under models.offered; {offered}")


def _uids(agents: Mapping[str, AgentNumbers]) -> Iterator[Conflict]:
    taken: dict[int, str] = {}
    for name, agent in agents.items():
        uid = agent.uid if agent.uid is not None else naming.agent_uid(name)
        if uid in taken:
            yield _clash(name, "uid", agent.uid, uid, f"agent {taken[uid]!r}")
        taken.setdefault(uid, name)


def _ports(agents: Mapping[str, AgentNumbers]) -> Iterator[Conflict]:
    services = {**naming.MACHINE_PORTS, **naming.SERVICE_PORTS}
    taken = {port: f"the service {name}" for name, port in services.items()}
    for name, agent in agents.items():
        port = agent.port if agent.port is not None else naming.agent_port(name)
        if port in taken:
            yield _clash(name, "port", agent.port, port, taken[port])
        taken.setdefault(port, f"agent {name!r}")


def _clash(name: str, what: str, given: int | None, number: int, holder: str) -> Conflict:
    if given is None:
        return Conflict(
            ("agents", name),
            f"{what} {number}, allocated from the name, is also that of {holder}; "
            f"give this agent a free one: `{what}: ...`",
        )
    return Conflict(
        ("agents", name, what), f"{number} is also the {what} of {holder}; choose a free one"
    )


def of_forges(*, own: bool, kind: str | None, engine: str) -> tuple[Conflict, ...]:
    """List the conflicts between the forge and the engine of recipe CI.

    `own` says whether the instance runs GitLab, `kind` what its forge elsewhere is.
    """
    found = []
    if own and kind is not None:
        told = "services.gitlab is on, and there is one forge; leave out forge, or turn GitLab off"
        found.append(Conflict(("forge",), told))
    if engine == "gitea-actions" and (own or kind == "gitlab"):
        told = (
            "gitea-actions needs a Gitea, and the forge is GitLab; take builtin, or another forge"
        )
        found.append(Conflict(("services", "ci", "engine"), told))
    return tuple(found)
