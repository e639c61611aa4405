"""Conflicts between parts of an instance that are each valid alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from agency import naming
from agency.instance.problems import Loc


class AgentNumbers(Protocol):
    """The numbers of an agent that can collide with those of another."""

    @property
    def uid(self) -> int | None:
        """The uid that the instance sets, if it sets one."""

    @property
    def port(self) -> int | None:
        """The port that the instance sets, if it sets one."""


class Conflict(NamedTuple):
    """One conflict: its location, and a message with the remedy."""

    loc: Loc
    message: str


def conflicts(
    domain: str | None,
    operators: Sequence[tuple[int, str]],
    agents: Mapping[str, AgentNumbers],
    *,
    reachable: bool,
) -> tuple[Conflict, ...]:
    """Find every conflict among the known parts; `operators` are pairs of index and Matrix id.

    A disabled agent keeps its numbers, so it counts. `reachable` says whether people of other
    homeservers can be in the control room.
    """
    return (
        *_operators(domain, operators, agents),
        *(() if reachable or domain is None else _strangers(domain, operators)),
        *_uids(agents),
        *_ports(agents),
    )


def _operators(
    domain: str | None, operators: Sequence[tuple[int, str]], agents: Mapping[str, AgentNumbers]
) -> Iterator[Conflict]:
    own: set[str] = set()
    if domain is not None:
        localparts = [naming.CONTROL_LOCALPART, *map(naming.agent_localpart, agents)]
        own = {naming.matrix_id(localpart, domain) for localpart in localparts}
    namespace = f"@{naming.agent_localpart('')}"
    seen: set[str] = set()
    for index, who in operators:
        if who in seen:
            yield Conflict(("operators", index), f"{who} is listed twice; remove one")
        if who in own:
            yield Conflict(
                ("operators", index), f"{who} is a Matrix id of the agency itself; name a person"
            )
        elif domain is not None and who.startswith(namespace) and who.endswith(f":{domain}"):
            yield Conflict(
                ("operators", index),
                f"{who} lies among the agents' Matrix ids ({namespace}...), and would not be "
                "heard; name a person",
            )
        seen.add(who)


def _strangers(domain: str, operators: Sequence[tuple[int, str]]) -> Iterator[Conflict]:
    """Find the operators who have their account on a homeserver that cannot be reached."""
    for index, who in operators:
        localpart, _, server = who[1:].partition(":")
        if server != domain:
            yield Conflict(
                ("operators", index),
                f"{who} has an account on {server}, and could not command: federation is off, so "
                f"that only accounts of {domain} can be in the control room; write "
                f"{naming.matrix_id(localpart, domain)}, or set `services: {{matrix: {{federation: "
                "true}}`",
            )


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
