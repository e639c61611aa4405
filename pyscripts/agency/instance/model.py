"""Models of an instance: the content of instance.yaml, and the values derived from it.

`Instance` is the border: pydantic, strict, unknown keys refused. Its validators' messages say what
would be right. Keys are camelCase in YAML and JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from agency import naming
from agency.commandline import LogLevel
from agency.instance.conflicts import PEOPLE, Person, conflicts, of_forges
from agency.instance.fields.ci import CiService, ForeignForge, Recipe
from agency.instance.fields.features import (
    AgentLimits,
    Browser,
    CodingAgent,
    Egress,
    FullName,
    TaskLoop,
    Workspace,
)
from agency.instance.fields.programs import AgentProgram, Models
from agency.instance.fields.values import (
    Address,
    AgentName,
    AgeRecipient,
    BackupPlace,
    Domain,
    Feature,
    GatedCommand,
    ImageId,
    ImageName,
    MatrixId,
    Name,
    Smarthost,
)
from agency.instance.problems import field_name
from agency.secrets import ALERTS_MAIL_PASSWORD, ALERTS_WEBHOOK_URL
from agency.settings import Written

SCHEMA_VERSION = 1


class Toggle(Written):
    """A service that is on or off."""

    enable: bool = Field(default=False, description="run it")


class MatrixService(Written):
    """Synapse, the homeserver."""

    enable: bool = Field(default=True, description="run the homeserver and the control plane")
    federation: bool = Field(default=False, description="talk to other homeservers")

    @property
    def reaches_others(self) -> bool:
        """False if people with an account on another homeserver cannot be here."""
        return self.federation or not self.enable


class Services(Written):
    """The services that this instance runs."""

    matrix: MatrixService = Field(
        default=MatrixService(), description="the homeserver, and the control plane with it"
    )
    element: Toggle = Field(default=Toggle(), description="the chat client for browsers")
    edge: Toggle = Field(default=Toggle(), description="port 443: TLS, and each service's name")
    gitlab: Toggle = Field(default=Toggle(), description="the forge, its registry and runners")
    # to_camel would turn it into k3S
    k3s: Toggle = Field(
        default=Toggle(), alias="k3s", description="the cluster for review apps and agents"
    )
    swarm: Toggle = Field(default=Toggle(), description="Docker Swarm, where recipes are deployed")
    traefik: Toggle = Field(default=Toggle(), description="the proxy of what runs on the swarm")
    ci: CiService = Field(default=CiService(), description="recipe CI")
    bridge: Toggle = Field(default=Toggle(), description="starts recipe CI by comments")
    dashboard: Toggle = Field(default=Toggle(), description="the pages of recipe CI")
    observability: Toggle = Field(
        default=Toggle(), description="Prometheus with its alerts, and Grafana"
    )


class Agent(Written):
    """One named worker."""

    role: Name = Field(description="what it is for, such as developer")
    enable: bool = Field(default=True, description="run it; one that is off keeps its numbers")
    uid: int | None = Field(
        default=None,
        ge=naming.AGENT_UIDS.start,
        lt=naming.AGENT_UIDS.stop,
        description="uid of its OS user; from a hash of its name if it is not set",
    )
    port: int | None = Field(
        default=None, ge=1024, le=65535, description="loopback port of its ACP; else from a hash"
    )
    runtime: Literal["systemd", "docker"] = Field(
        default="systemd",
        description="what runs it on a host: a unit of systemd, or a container (docker)",
    )
    spare: bool = Field(
        default=False,
        description="no agent yet: its user, port, unit and program are for one that `agents "
        "create` makes",
    )
    program: AgentProgram | None = Field(
        default=None,
        description="what works in it; nothing if it is not set",
    )
    full_name: FullName | None = Field(
        default=None, description="name that its commits bear; its role if it is not set"
    )
    email: Address | None = Field(
        default=None, description="address that they bear; agent-NAME@DOMAIN if it is not set"
    )
    limits: AgentLimits = Field(
        default=AgentLimits(), description="on a host, of all that runs for it"
    )
    egress: list[Egress] = Field(
        default_factory=list,
        max_length=100,
        description="what it may reach beyond its host; nothing if it names none",
    )
    workspace: Workspace = Field(default=Workspace(), description="on a host, its repository")
    browser: Browser = Field(default=Browser(), description="on a host, its browser")
    task_loop: TaskLoop = Field(default=TaskLoop(), description="on a host, its tasks")
    coding_agent: CodingAgent = Field(
        default=CodingAgent(), description="on a host, how it contributes code"
    )

    @property
    def features(self) -> tuple[str, ...]:
        """Name its features that are on; all are units of a host."""
        found = {"workspace": self.workspace.enable, "browser": self.browser.enable}
        found |= {"taskLoop": self.task_loop.enable, "codingAgent": self.coding_agent.enable}
        return tuple(name for name, on in found.items() if on)

    @model_validator(mode="after")
    def _has_what_features_need(self) -> Self:
        if self.runtime == "docker":
            given = [*self.features]
            given += ["limits"] if self.limits != AgentLimits() else []
            given += ["egress"] if self.egress else []
            if given:
                raise ValueError(
                    f"{' and '.join(given)}: for agents that are units of a host; a container has "
                    "no timer, git, way to a remote or forge, and the limits of `docker`. Leave "
                    "them out: timers of its Gosuto and messages in its rooms give it work, see "
                    "docs/workspace.md; or leave out `runtime: docker`"
                )
        for name in ("taskLoop", "codingAgent"):
            if name in self.features and not self.workspace.enable:
                raise ValueError(f"{name} needs a workspace; add `workspace: {{enable: true}}`")
        if self.task_loop.issues is not None and not self.task_loop.enable:
            raise ValueError(
                "taskLoop.issues: the task loop is off; add `enable: true`, or drop it"
            )
        return self


class Docker(Written):
    """The image and the limits of agents that run in containers."""

    image: ImageName = Field(description="name and tag of the image, as `make agent-image` says it")
    image_id: ImageId = Field(
        description="id of that image; if the name is another image's at a start, it is refused"
    )
    memory_mib: int = Field(
        default=1024, ge=64, le=1024 * 1024, description="most memory of each agent, without swap"
    )
    cpus: float = Field(default=1.0, gt=0, le=1024, description="most processors of each agent")
    pids: int = Field(
        default=256, ge=16, le=32768, description="most processes and threads of each agent"
    )
    tmp_mib: int = Field(default=64, ge=1, le=64 * 1024, description="size of each agent's /tmp")


class ApprovalRule(Written):
    """A rule by which commands run only after other people approved them."""

    commands: list[GatedCommand] = Field(min_length=1, description="commands that it asks for")
    agents: list[AgentName] = Field(
        default_factory=list, description="agents that it is about; all of them if it names none"
    )
    quorum: int = Field(
        default=1, ge=1, le=10, description="how many people beside who asks must approve"
    )


class Approvals(Written):
    """The commands that other people must approve before they run."""

    rules: dict[Name, ApprovalRule] = Field(default_factory=dict, description="rules, by name")
    solo_delay: int | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="seconds after which the only person of an agency may approve what they asked "
        "for themselves, by typing it again; nobody may if it is not set",
    )


class OptionalRooms(Written):
    """Rooms that the control plane keeps beside the control room."""

    approvals: bool = Field(
        default=False, description="a room where what waits for an approval is shown and decided"
    )
    audit: bool = Field(
        default=False, description="a room that tells what was asked and what became of it"
    )


class SecretsPolicy(Written):
    """The provider of the secrets, and the keys that can decrypt them."""

    provider: Literal["sops", "ephemeral"] = Field(
        default="sops",
        description="sops: the encrypted file beside instance.yaml; ephemeral: made for each run",
    )
    recipients: dict[Name, AgeRecipient] = Field(
        default_factory=dict, description="age public keys by the name of their owner"
    )

    @model_validator(mode="after")
    def _has_distinct_recipients(self) -> Self:
        if self.provider == "sops" and not self.recipients:
            raise ValueError("provider sops needs at least one age recipient under recipients")
        doubles = [key for key, n in Counter(self.recipients.values()).items() if n > 1]
        if doubles:
            raise ValueError(f"the recipient {doubles[0]} is listed twice; remove one")
        return self


class AlertMail(Written):
    """Mail as the second way of alerts."""

    smarthost: Smarthost = Field(description="mail server that takes them, with its port")
    sender: Address = Field(alias="from", description="address that they come from")
    to: list[Address] = Field(min_length=1, max_length=20, description="who gets them")
    username: Address | None = Field(
        default=None,
        description=f"account at the mail server, with the secret {ALERTS_MAIL_PASSWORD}",
    )


class Alerts(Written):
    """The second way of alerts, beside the control room."""

    mail: AlertMail | None = Field(default=None, description="by mail")
    webhook: bool = Field(
        default=False, description=f"by a webhook, whose URL is the secret {ALERTS_WEBHOOK_URL}"
    )

    @property
    def has_second_way(self) -> bool:
        """True if an alert about the control plane itself can reach people."""
        return self.mail is not None or self.webhook


class Backup(Written):
    """Backups of what is not in git."""

    repository: BackupPlace = Field(
        description="where restic keeps them, off the machine: sftp:USER@HOST:/PATH, "
        "s3:HOST/BUCKET, rest:https://HOST/, or a path"
    )
    append_only: bool = Field(
        default=False,
        description="the place lets nothing be removed, so a machine in wrong hands cannot; "
        "old snapshots are removed there",
    )

    @property
    def scheme(self) -> str:
        """Kind of place; empty for a path of the machine."""
        return "" if self.repository.startswith("/") else self.repository.partition(":")[0]


class Instance(Written):
    """The content of instance.yaml."""

    version: Literal[1] = Field(description="version of this format")
    name: Name = Field(description="name of the instance")
    domain: Domain = Field(
        description="Matrix server name, and the domain of the services; it cannot be changed later"
    )
    operators: list[MatrixId] = Field(
        min_length=1,
        description="who may command and approve, by full Matrix id; the first is also the admin",
    )
    approvers: list[MatrixId] = Field(
        default_factory=list,
        description="who may approve what others ask for, and look, beside the operators",
    )
    viewers: list[MatrixId] = Field(default_factory=list, description="who may look, and no more")
    approvals: Approvals = Field(
        default=Approvals(), description="what runs only after other people approved it"
    )
    rooms: OptionalRooms = Field(
        default=OptionalRooms(), description="rooms beside the control room"
    )
    log_level: LogLevel = Field(
        default="info", description="least level of the lines in the control plane's log"
    )
    reconcile_interval: float | None = Field(
        default=None,
        ge=0.1,
        le=3600,
        description="seconds between two looks of the control plane at all agents, 30 if it is not "
        "set; one that died is started again then",
    )
    services: Services = Field(
        default=Services(), description="services that it runs; all others are off"
    )
    agents: dict[AgentName, Agent] = Field(default_factory=dict, description="workers, by name")
    docker: Docker | None = Field(
        default=None, description="image of agents whose runtime is docker; needed by them alone"
    )
    models: Models | None = Field(
        default=None, description="language models for agents that have a program"
    )
    alerts: Alerts = Field(default=Alerts(), description="where alerts go besides the control room")
    forge: ForeignForge | None = Field(
        default=None, description="the forge, where it is not the instance's own GitLab"
    )
    recipes: dict[Name, Recipe] = Field(
        default_factory=dict, description="Co-op Cloud apps under test, by name"
    )
    preview: list[Feature] = Field(
        default_factory=list,
        description="features to set up although their programs are not written yet",
    )
    backup: Backup | None = Field(
        default=None, description="where the machine is backed up; nowhere if it is not set"
    )
    secrets: SecretsPolicy = Field(description="where secrets are, and who can decrypt them")

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        found = conflicts(
            self.domain,
            [
                Person((name, index), who)
                for name in PEOPLE
                for index, who in enumerate(getattr(self, name))
            ],
            self.agents,
            self.approvals.rules,
            reachable=self.services.matrix.reaches_others,
            solo=self.approvals.solo_delay is not None,
            image=self.docker is not None,
            models=() if self.models is None else self.models.offered,
        )
        found += of_forges(
            own=self.services.gitlab.enable,
            kind=None if self.forge is None else self.forge.kind,
            engine=self.services.ci.engine if self.services.ci.enable else "builtin",
        )
        if found:
            raise ValueError("; ".join(f"{field_name(c.loc)}: {c.message}" for c in found))
        return self

    def resolved_agents(self) -> Iterator[ResolvedAgent]:
        """Iterate over the enabled agents, by name, with their numbers and names."""
        for name, agent in sorted(self.agents.items()):
            if agent.enable:
                yield ResolvedAgent(
                    name=name,
                    role=agent.role,
                    uid=agent.uid if agent.uid is not None else naming.agent_uid(name),
                    port=agent.port if agent.port is not None else naming.agent_port(name),
                    user=naming.agent_user(name),
                    unit=naming.agent_unit(name),
                    matrix_id=naming.matrix_id(naming.agent_localpart(name), self.domain),
                    runtime=agent.runtime,
                )


class ResolvedAgent(Written):
    """An agent with the values derived from its name."""

    name: str
    role: str
    uid: int
    port: int
    user: str
    unit: str
    matrix_id: str
    runtime: str
