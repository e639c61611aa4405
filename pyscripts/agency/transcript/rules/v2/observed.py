"""Evidence of each probe, save those of the scenario.

To add a probe: describe its evidence by a Shape, and add a line to RULES.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agency import naming
from agency.quarantine import DESTINATIONS
from agency.transcript.rules.v2.rule import (
    EVERYWHERE,
    All,
    Count,
    Http200,
    Http401,
    Http403,
    MatrixId,
    Name,
    No,
    Path,
    Pid,
    ProbeRule,
    Revision,
    Seen,
    Sha256,
    Shape,
    Some,
    Url,
    Version,
    Yes,
    Zero,
    matches,
)
from agency.transcript.rules.v2.services import SERVICES

TOKEN_ATTEMPTS = {"missing", "wrong", "query"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class HomeserverVersions(Shape):
    """`GET /_matrix/client/versions`."""

    status: Http200
    url: Url
    versions: Some[Seen]
    server_version: Version

    @model_validator(mode="after")
    def _reached_from_here(self) -> Self:
        if urlsplit(self.url).hostname not in LOOPBACK:
            raise ValueError("url: not on loopback, where a spin-up reaches its own homeserver")
        return self


class HomeserverProcess(Shape):
    """The process behind the homeserver, as the kernel shows it."""

    pid: Pid
    alive: Yes
    executable: Path
    argv0: Seen
    argv: Some[Seen]  # its beginning

    @model_validator(mode="after")
    def _is_synapse(self) -> Self:
        if self.argv[0] != self.argv0:
            raise ValueError("argv: does not begin with argv0")
        if not any("synapse" in item for item in self.argv):
            raise ValueError("argv: not the homeserver's")
        return self


class ControlReady(Shape):
    """`GET /ready` of the control plane."""

    status: Http200
    ready: Yes
    version: Version
    schema_revision: Revision
    python_version: Version


class TokenAttempt(Shape):
    """One transaction without the right token in the right place."""

    token: Literal["missing", "wrong", "query"]
    status: Http403
    errcode: Literal["M_FORBIDDEN"]


class TokenAccepted(Shape):
    """A ping with the right token in the right place."""

    token: Literal["right"]
    status: Http200


class RefusesWrongToken(Shape):
    """Transactions that must be refused, by a control plane that does not refuse everybody."""

    attempts: Some[TokenAttempt]
    accepted: TokenAccepted

    @model_validator(mode="after")
    def _all_kinds(self) -> Self:
        missing = TOKEN_ATTEMPTS - {attempt.token for attempt in self.attempts}
        if missing:
            raise ValueError(f"attempts: nobody tried {', '.join(sorted(missing))}")
        return self


class ControlRoom(Shape):
    """The control room, asked as an operator."""

    room_id: Annotated[str, matches(r"![\x21-\x7e]{2,254}", "a Matrix room id (!...)")]
    alias: Annotated[str, matches(r"#[^\s:]+:[^\s]+", "a room alias (#name:domain)")]
    joined: Some[MatrixId]
    encrypted: No
    join_rule: Literal["invite"]

    @model_validator(mode="after")
    def _members(self) -> Self:
        domain = self.alias.partition(":")[2]
        bot = naming.matrix_id(naming.CONTROL_LOCALPART, domain)
        agent = "@" + naming.agent_localpart("")
        if bot not in self.joined:
            raise ValueError(f"joined: the control plane's user {bot} is not in the room")
        if not any(member.startswith(agent) for member in self.joined):
            raise ValueError("joined: no agent is in the room")
        return self


class HealthBody(Shape):
    """The body of an agent's `GET /health`."""

    status: Literal["ok"]
    agent: Name


class AgentUnit(Shape):
    """The unit that runs an agent, as systemd shows it."""

    name: Seen
    active: Literal["active"]
    pid: Pid
    processes: Count


class AgentHealth(Shape):
    """One agent, asked with its token and without; where systemd runs it, with its unit."""

    name: Name
    status: Http200
    body: HealthBody
    pid: Pid
    unauthorised: Http401
    unit: AgentUnit | None = None

    @model_validator(mode="after")
    def _is_itself(self) -> Self:
        if self.body.agent != self.name:
            raise ValueError("body.agent: another agent answered")
        if self.unit is not None and self.unit.name != naming.agent_unit(self.name):
            raise ValueError("unit.name: not the unit of this agent")
        if self.unit is not None and self.unit.pid != self.pid:
            raise ValueError("unit.pid: not the pid that the agent says")
        return self


class AgentsHealth(Shape):
    """Every agent."""

    agents: Some[AgentHealth]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({agent.name for agent in self.agents}) != len(self.agents):
            raise ValueError("agents: an agent comes twice")
        if len({agent.pid for agent in self.agents}) != len(self.agents):
            raise ValueError("agents: two agents have one pid")
        return self


class StoppedUnit(Shape):
    """The unit of an agent that was stopped: nothing of it is left, no child either."""

    name: Seen
    active: Literal["inactive"]
    processes: Zero


class StoppedAgent(Shape):
    """One agent after it was stopped; where systemd ran it, with its unit."""

    name: Name
    pid: Pid
    process_gone: Yes
    port_closed: Yes
    unit: StoppedUnit | None = None

    @model_validator(mode="after")
    def _is_its_own(self) -> Self:
        if self.unit is not None and self.unit.name != naming.agent_unit(self.name):
            raise ValueError("unit.name: not the unit of this agent")
        return self


class AgentsStopped(Shape):
    """Every agent after it was stopped."""

    agents: Some[StoppedAgent]


class StoreSchema(Shape):
    """The control plane's database."""

    revision: Revision
    integrity: Literal["ok"]
    journal_mode: Literal["wal"]


class AuditChain(Shape):
    """The audit log, verified row by row."""

    count: Count
    head: Sha256
    verified: Yes


class RunningProcess(Shape):
    """One process of ours while it ran."""

    name: Name
    pid: Pid
    rss_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SystemProcesses(Shape):
    """All processes of ours while they ran."""

    running: Some[RunningProcess]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({process.pid for process in self.running}) != len(self.running):
            raise ValueError("running: two processes have one pid")
        missing = SERVICES.keys() - {process.name for process in self.running}
        if missing:
            raise ValueError(f"running.name: lacks {', '.join(sorted(missing))}")
        return self


class TeardownClean(Shape):
    """Remains after everything was stopped."""

    processes_left: Zero
    sockets_left: Zero
    files_left: Zero


class OutboundAttempt(Shape):
    """One attempt to reach the outside."""

    destination: Seen
    outcome: Literal["refused", "unreachable", "timed-out"]


class QuarantineOutbound(Shape):
    """The network as the spin-up saw it."""

    mode: Literal["network-namespace", "guest"]
    interfaces: All[str]
    attempts: Some[OutboundAttempt]

    @model_validator(mode="after")
    def _every_way(self) -> Self:
        tried = {attempt.destination for attempt in self.attempts}
        missing = [destination for destination in DESTINATIONS if destination not in tried]
        if missing:
            raise ValueError(f"attempts.destination: nobody tried {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _loopback_only(self) -> Self:
        if self.interfaces != ("lo",):
            raise ValueError("interfaces: must be lo alone")
        return self


RULES = (
    ProbeRule(
        "quarantine.outbound",
        "Only loopback exists, and every attempt to reach the outside failed (gate hermetic).",
        QuarantineOutbound,
        frozenset(("incus",)),
    ),
    ProbeRule(
        "homeserver.versions",
        "The homeserver answers its clients, and says which version it is.",
        HomeserverVersions,
        EVERYWHERE,
    ),
    ProbeRule(
        "homeserver.process",
        "The homeserver is a live process of this run.",
        HomeserverProcess,
        EVERYWHERE,
    ),
    ProbeRule(
        "control.ready",
        "The control plane is ready, with its version, Python's and its schema's revision.",
        ControlReady,
        EVERYWHERE,
    ),
    ProbeRule(
        "control.refuses-wrong-token",
        "Transactions with no token, a wrong one, or the right one in the query get 403;"
        " the right one opens.",
        RefusesWrongToken,
        EVERYWHERE,
    ),
    ProbeRule(
        "control.room",
        "The control room is by invitation, unencrypted, and has the control plane and agents.",
        ControlRoom,
    ),
    ProbeRule(
        "agents.health",
        "Every agent says that it is well, under its own name, and only to who holds its token.",
        AgentsHealth,
    ),
    ProbeRule(
        "agents.stopped",
        "Every agent's process is gone after the stop, and its port is closed.",
        AgentsStopped,
    ),
    ProbeRule(
        "store.schema",
        "The store has a schema revision, passes its integrity check, and uses a write-ahead log.",
        StoreSchema,
        EVERYWHERE,
    ),
    ProbeRule(
        "audit.chain",
        "The audit chain verifies from its first row to its head.",
        AuditChain,
        EVERYWHERE,
    ),
    ProbeRule(
        "system.processes",
        "Every process runs, with its pid and resident memory.",
        SystemProcesses,
        EVERYWHERE,
    ),
    ProbeRule(
        "teardown.clean",
        "No process, socket or file of the run is left at its end.",
        TeardownClean,
        EVERYWHERE,
    ),
)
