"""The model of a Gosuto document; docs/gosuto-spec.md says of each field who enforces it.

What is named (capabilities, servers, gateways, secrets, peers, targets) is a mapping: no rule hides
another by its place, and a difference between two documents has a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from agency.gosuto.constraints import Constraint, ServerUrl
from agency.gosuto.urls import in_the_clear
from agency.gosuto.values import (
    MAX_ENTRIES,
    MAX_RULES,
    ArgumentName,
    EnvName,
    LongText,
    MatrixRoom,
    MatrixUser,
    Name,
    Schedule,
    Text,
    ToolPattern,
    Word,
)
from agency.settings import Written
from agency.yaml_source import Loc

API_VERSION = "gosuto/v1"
BUILTIN = "builtin"  # the server of the tools that an agent has without any MCP server


class Metadata(Written):
    """The document itself."""

    name: Name = Field(description="the agent that it is for")
    template: Name | None = Field(default=None, description="the template that it was made from")
    description: Text = Field(default="", description="one sentence about the agent")


class Peer(Written):
    """Another agent that this one listens to."""

    user: MatrixUser = Field(description="its full Matrix id")
    room: MatrixRoom = Field(description="the room in which it is listened to")
    protocols: list[Word] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="the protocols that it may speak"
    )


class Trust(Written):
    """Those whom the agent listens to; empty lists mean nobody."""

    rooms: list[MatrixRoom] = Field(
        default_factory=list, max_length=MAX_ENTRIES, description="rooms that it reads"
    )
    senders: list[MatrixUser] = Field(
        default_factory=list, max_length=MAX_ENTRIES, description="people that it obeys"
    )
    admin_room: MatrixRoom | None = Field(default=None, description="the room for its own notices")
    require_encryption: bool = Field(
        default=False, description="read nothing that is not end-to-end encrypted"
    )
    peers: dict[Name, Peer] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="other agents, by name"
    )


class Limits(Written):
    """Upper limits; one that is left out is the agency's own."""

    requests_per_minute: int | None = Field(
        default=None, ge=1, le=100_000, description="requests to the model in a minute"
    )
    tokens_per_request: int | None = Field(
        default=None, ge=1, le=10_000_000, description="tokens of one answer of the model"
    )
    concurrent_requests: int | None = Field(
        default=None, ge=1, le=1000, description="requests to the model at one time"
    )
    cost_usd_per_month: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="US dollars that a calendar month may cost",
    )
    events_per_minute: int | None = Field(
        default=None, ge=1, le=100_000, description="events that wake the agent in a minute"
    )


class Capability(Written):
    """A rule about tools. Of several that are about a call, the strictest answer applies."""

    tool: ToolPattern = Field(description="`server/tool`, `server/*`, or `*` for every tool")
    answer: Literal["allow", "ask", "deny"] = Field(
        description="whether the call is made, people are asked, or it is refused"
    )
    arguments: dict[ArgumentName, Constraint] = Field(
        default_factory=dict,
        max_length=50,
        description="conditions on arguments, all of which must hold; one whose argument is "
        "missing or has no one meaning refuses the call",
    )


class Approvals(Written):
    """The people who are asked where a rule says `ask`."""

    room: MatrixRoom | None = Field(
        default=None, description="the room in which they are asked; the control room if left out"
    )
    approvers: list[MatrixUser] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="who may decide"
    )
    ttl_seconds: int = Field(
        default=3600, ge=60, le=604_800, description="how long is waited before it is refused"
    )


class McpServer(Written):
    """An MCP server: a program that the agent's gateway starts, or one at a URL."""

    command: list[Word] | None = Field(
        default=None, min_length=1, max_length=100, description="the program and its arguments"
    )
    url: ServerUrl | None = Field(
        default=None, description="in place of a command: where it answers, by streamable HTTP"
    )
    bearer: Name | None = Field(
        default=None, description="with a URL: the secret that is sent as bearer token, by its name"
    )
    env: dict[EnvName, Text] = Field(
        default_factory=dict, max_length=100, description="plain variables of its environment"
    )
    secrets: dict[EnvName, Name] = Field(
        default_factory=dict,
        max_length=100,
        description="variables that hold a secret, by its name",
    )
    restart: bool = Field(default=True, description="start it again when it ends")


class Gateway(Written):
    """A source of events that wake the agent."""

    type: Literal["cron", "webhook", "program"] = Field(description="its kind")
    schedule: Schedule | None = Field(
        default=None, description="of a cron gateway: five fields, in UTC"
    )
    message: Text | None = Field(
        default=None, description="of a cron gateway: the text of its events"
    )
    secret: Name | None = Field(
        default=None, description="of a webhook gateway: the secret that signs its calls"
    )
    command: list[Word] | None = Field(
        default=None, min_length=1, max_length=100, description="of a program: how it is started"
    )


class Secret(Written):
    """A secret that the agent uses."""

    env: EnvName | None = Field(default=None, description="the variable that holds it")
    required: bool = Field(default=True, description="without it the agent does not start")


class Messaging(Written):
    """Messages that the agent sends by itself; without targets it sends none."""

    targets: dict[Name, MatrixRoom] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="rooms, by the name it uses"
    )
    messages_per_minute: int = Field(default=10, ge=1, le=1000, description="messages in a minute")


class Persona(Written):
    """The model and the text that it is given first. It grants nothing: capabilities do."""

    prompt: LongText = Field(default="", description="the system prompt")
    provider: Name | None = Field(default=None, description="the provider of the model")
    model: Word | None = Field(default=None, description="the model's name")
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False, description="the sampling temperature"
    )
    api_key: Name | None = Field(default=None, description="the secret that pays for it")


class Step(Written):
    """One thing that the agent does."""

    trigger: Text = Field(description="when")
    action: Text = Field(description="what")


class Instructions(Written):
    """Operational instructions, given to the model after the persona. They grant nothing."""

    role: LongText = Field(default="", description="the agent's part in the team")
    workflow: list[Step] = Field(
        default_factory=list, max_length=MAX_ENTRIES, description="what it does, and when"
    )
    user: Text = Field(default="", description="about the people that it works for")
    peers: dict[Name, Text] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="roles of other agents, by name"
    )


class Document(Written):
    """A Gosuto document."""

    api_version: Literal["gosuto/v1"] = Field(description="the version of this format")
    metadata: Metadata = Field(description="about the document")
    trust: Trust = Field(default=Trust(), description="whom the agent listens to")
    limits: Limits = Field(default=Limits(), description="upper limits")
    capabilities: dict[Name, Capability] = Field(
        default_factory=dict,
        max_length=MAX_RULES,
        description="rules about tools, by name; a tool that none is about is refused",
    )
    approvals: Approvals | None = Field(
        default=None, description="who is asked; needed where a rule says `ask`"
    )
    mcp_servers: dict[Name, McpServer] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="MCP servers, by name"
    )
    gateways: dict[Name, Gateway] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="sources of events, by name"
    )
    secrets: dict[Name, Secret] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, description="secrets that it uses, by name"
    )
    messaging: Messaging = Field(default=Messaging(), description="messages that it sends")
    persona: Persona = Field(default=Persona(), description="the model and its prompt")
    instructions: Instructions = Field(default=Instructions(), description="what it is to do")


_NEEDS = {"cron": ("schedule", "message"), "webhook": ("secret",), "program": ("command",)}


def conflicts(document: Document) -> Iterator[tuple[Loc, str]]:
    """Find what is wrong between the fields of a document, each with its place."""
    yield from _rules(document)
    for name in document.gateways.keys() & document.mcp_servers.keys():
        yield ("gateways", name), "is the name of an MCP server too; tools are named by both"
    for section in ("gateways", "mcpServers"):
        named = document.gateways if section == "gateways" else document.mcp_servers
        if BUILTIN in named:
            yield (
                (section, BUILTIN),
                f"is a name that is taken: {BUILTIN}/ are the agent's own tools",
            )
    for name, server in document.mcp_servers.items():
        yield from _server(name, server)
    for name, gateway in document.gateways.items():
        yield from _gateway(name, gateway)
    for loc, secret in _secrets(document):
        if secret not in document.secrets:
            yield loc, f"is {secret}, which is not under secrets; add it there"


def _rules(document: Document) -> Iterator[tuple[Loc, str]]:
    servers = {BUILTIN, *document.mcp_servers}
    for name, rule in document.capabilities.items():
        server = rule.tool.partition("/")[0]
        if server not in {"*", *servers}:
            known = ", ".join(sorted(servers))
            yield (
                ("capabilities", name, "tool"),
                f"names the server {server}, which is not under mcpServers; there are: {known}",
            )
        if rule.answer == "ask" and document.approvals is None:
            yield (
                ("capabilities", name, "answer"),
                "is ask, and nobody is there to be asked; add approvals.approvers",
            )


def _server(name: str, server: McpServer) -> Iterator[tuple[Loc, str]]:
    if (server.command is None) == (server.url is None):
        yield ("mcpServers", name), "must have exactly one of command and url"
    if server.url is not None and (server.env or server.secrets):
        yield (
            ("mcpServers", name),
            "has a url, so that nothing is started: env and secrets are for a command",
        )
    if server.url is None and server.bearer is not None:
        yield ("mcpServers", name, "bearer"), "is for a server with a url"
    if server.bearer is not None and server.url is not None and in_the_clear(server.url):
        yield ("mcpServers", name, "bearer"), "would be sent in the clear: use https"


def _gateway(name: str, gateway: Gateway) -> Iterator[tuple[Loc, str]]:
    for field in ("schedule", "message", "secret", "command"):
        given = getattr(gateway, field) is not None
        if given and field not in _NEEDS[gateway.type]:
            yield ("gateways", name, field), f"is not for a gateway of the type {gateway.type}"
        if not given and field in _NEEDS[gateway.type]:
            yield ("gateways", name), f"of the type {gateway.type} needs {field}"


def _secrets(document: Document) -> Iterator[tuple[Loc, str]]:
    for name, server in document.mcp_servers.items():
        for variable, secret in server.secrets.items():
            yield ("mcpServers", name, "secrets", variable), secret
        if server.bearer is not None:
            yield ("mcpServers", name, "bearer"), server.bearer
    for name, gateway in document.gateways.items():
        if gateway.secret is not None:
            yield ("gateways", name, "secret"), gateway.secret
    if document.persona.api_key is not None:
        yield ("persona", "apiKey"), document.persona.api_key
