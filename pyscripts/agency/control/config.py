"""Configuration of the control plane: one JSON file generated from the instance.

It holds no secrets: the control plane reads `matrix-as-token` and `matrix-hs-token`, with `alerts`
the `alertmanager-token`, and `vault-master-key` if there is one, from the files of these names in
`$CREDENTIALS_DIRECTORY` (systemd's LoadCredential, or the local supervisor).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from agency.commandline import LogLevel
from agency.control.backups.settings import BackupSettings
from agency.control.policy import ApprovalRule, People, Policy, Solo
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.control.runtimes.docker.settings import DockerSettings
from agency.control.runtimes.registry import FACTORIES
from agency.paths import is_in_own_directory
from agency.settings import Strict, load


def _known(name: str) -> str:
    if name not in FACTORIES:
        known = " or ".join(repr(each) for each in FACTORIES)
        raise PydanticCustomError("runtime", "Input should be {known}", {"known": known})
    return name


RuntimeName = Annotated[str, AfterValidator(_known)]


def _unfit(program: ProgramSettings | None, runtime: str) -> str | None:
    """Say why a runtime does not start a program; None if it does. Pure."""
    if program is None:
        return None
    if program.own_tools == "confined" and runtime == "process":
        return (
            "the runtime process gives it no user of its own, in which its own tools could be "
            "confined; set ownTools: off, or run it on a host, in the runtime docker or systemd"
        )
    if program.kind == "command" and runtime == "docker":
        hidden = next((each for each in program.run if not is_in_own_directory(each)), None)
        if hidden is not None:
            return (
                f"{hidden.parent} in its container would be this machine's; put it in a directory "
                "of its own, such as /opt/NAME"
            )
    return None


class AgentEntry(Strict):
    """An agent that the control plane may start."""

    name: str
    role: str
    matrix_id: str
    port: int = Field(ge=1, le=65535)
    runtime: RuntimeName | None = Field(
        default=None, description="default: the runtime of all agents"
    )
    spare: bool = Field(
        default=False, description="no agent yet: a slot for one that a command makes"
    )
    program: ProgramSettings | None = Field(
        default=None, description="what works in it; default: it answers ACP and does nothing"
    )


class Limits(Strict):
    """Limits of the control plane; docs/commands.md documents each."""

    max_command_age_s: float = Field(default=600, gt=0)
    max_command_bytes: int = Field(default=4096, gt=0)
    # Above what a homeserver sends: 100 events of 64 KiB, each with as much of the one before it,
    # and ephemeral ones. One that is refused is sent again for ever, and nothing after it.
    max_transaction_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    max_inbox: int = Field(
        default=10_000, gt=0, description="unfinished events; further ones are refused"
    )
    max_target_queue: int = Field(
        default=20, gt=0, description="changes that wait for one target; further ones are refused"
    )
    approval_wait_s: float = Field(
        default=3600, gt=0, description="how long a change waits for another person's approval"
    )
    agent_start_timeout_s: float = Field(default=15, gt=0)
    agent_stop_timeout_s: float = Field(default=5, gt=0)
    reconcile_interval_s: float = Field(
        default=30, ge=0, description="between two looks at all agents; 0: only at the start"
    )
    respawn_attempts: int = Field(
        default=5, ge=0, description="in a row; then an agent that died stays so, and has failed"
    )
    respawn_wait_s: float = Field(
        default=10, gt=0, description="after the first attempt; twice as long after each further"
    )
    send_attempts: int = Field(default=20, gt=0)
    max_outbox: int = Field(
        default=1000, gt=0, description="unsent replies; at the limit no command runs"
    )
    status_card_after_s: float = Field(
        default=2, ge=0, description="how long a change takes that has a status card"
    )
    status_card_edits_per_minute: int = Field(
        default=6, ge=1, le=60, description="of one card; the last edit is beside these"
    )
    secret_lease_s: float = Field(
        default=3600, ge=1, description="how long an agent may hold a secret; it is renewed before"
    )
    secret_check_s: float = Field(
        default=5, gt=0, description="how often it is asked whether agents hold their secrets"
    )
    setup_timeout_s: float = Field(
        default=300, gt=0, description="how long to wait for the homeserver at start"
    )

    @property
    def card_pace_s(self) -> tuple[float, float]:
        """Seconds before a status card, and between two edits of it."""
        return self.status_card_after_s, 60 / self.status_card_edits_per_minute


class ApprovalRuleEntry(Strict):
    """A rule that asks for the approval of other people."""

    name: str = Field(min_length=1, max_length=64)
    commands: tuple[str, ...] = Field(min_length=1)
    agents: tuple[str, ...] = ()
    quorum: int = Field(default=1, ge=1, le=10)


class Approvals(Strict):
    """Changes that run only after other people approved them."""

    rules: tuple[ApprovalRuleEntry, ...] = ()
    solo_delay_s: float | None = Field(
        default=None, ge=0, description="of an agency of one person, before they approve their own"
    )


class RoomSettings(Strict):
    """Rooms that the control plane keeps beside the control room."""

    approvals: bool = Field(default=False, description="where approvals are asked for and given")
    audit: bool = Field(default=False, description="where the audit log is told to people")


class Api(Strict):
    """The HTTP interface for people's programs; it listens where the control plane does."""

    listen_port: int = Field(ge=1, le=65535)
    requests_per_minute: int = Field(default=600, ge=10, le=60_000, description="of each token")


class ControlConfig(Strict):
    """Configuration of the control plane."""

    instance: str
    domain: str
    homeserver_url: str
    listen_host: str = "127.0.0.1"
    listen_port: int = Field(ge=1, le=65535)
    bot_id: str
    control_room_alias: str
    operators: tuple[str, ...] = Field(min_length=1)
    approvers: tuple[str, ...] = Field(
        default=(), description="who may approve and look, beside the operators"
    )
    viewers: tuple[str, ...] = Field(default=(), description="who may look")
    approvals: Approvals = Approvals()
    rooms: RoomSettings = RoomSettings()
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[a-z0-9.:\[\]-]+)?$",
        description="where people reach its pages; default: where it listens",
    )
    agents: tuple[AgentEntry, ...]
    database_url: str = Field(description="SQLAlchemy async URL")
    state_dir: Path
    runtime: RuntimeName = Field(default="process", description="of agents that set none")
    docker: DockerSettings | None = Field(
        default=None, description="image and limits of agents in containers"
    )
    models: ModelSettings | None = Field(
        default=None, description="the way to models of agents that have a program"
    )
    alerts: bool = Field(
        default=False, description="take alerts from Alertmanager; needs its token"
    )
    backup: BackupSettings | None = Field(
        default=None, description="default: this machine has no backup"
    )
    log_level: LogLevel = Field(default="info", description="of the lines of our own modules")
    api: Api | None = Field(default=None, description="default: there is no HTTP interface")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _has_an_image(self) -> Self:
        inside = [
            agent.name for agent in self.agents if (agent.runtime or self.runtime) == "docker"
        ]
        if inside and self.docker is None:
            raise ValueError(
                f"docker: no image is set, and {inside[0]} runs in a container; run "
                "`make agent-image`, and set what it prints in instance.yaml"
            )
        return self

    @model_validator(mode="after")
    def _reaches_models(self) -> Self:
        working = [agent.name for agent in self.agents if agent.program is not None]
        if working and self.models is None:
            raise ValueError(f"models: is not set, and {working[0]} has a program")
        for agent in self.agents:
            fault = _unfit(agent.program, agent.runtime or self.runtime)
            if fault is not None:
                raise ValueError(f"agents: {agent.name} has a program, and {fault}")
        return self

    @property
    def members(self) -> tuple[str, ...]:
        """The people of the control room beside the operators."""
        return (*self.approvers, *self.viewers)

    @property
    def policy(self) -> Policy:
        """The policy that this configuration makes; the first operator is the admin."""
        solo = self.approvals.solo_delay_s
        return Policy(
            People(
                operators=frozenset(self.operators),
                approvers=frozenset(self.approvers),
                viewers=frozenset(self.viewers),
                admins=frozenset(self.operators[:1]),
            ),
            tuple(
                ApprovalRule(
                    each.name, frozenset(each.commands), frozenset(each.agents), each.quorum
                )
                for each in self.approvals.rules
            ),
            None if solo is None else Solo(solo),
        )


def load_config(path: Path) -> ControlConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: the file is not a valid configuration.
    """
    return load(
        path,
        ControlConfig,
        what="the configuration",
        hint="`agency render` makes it from the instance",
        broken_hint="do not edit it: change instance.yaml and run `agency render`",
    )
