"""Configuration of an agent in rooms: a JSON file without secrets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agency.agent.programs.command.launching import OwnTools
from agency.agent.programs.work import GatewayAddress, ModelAddress
from agency.agent.rooms.events.envelope import MAX_HOPS
from agency.protocols import SOCKET
from agency.settings import Written


class CommandProgram(Written):
    """Command-line agent in place of the builtin program (docs/bring-your-own-agent.md)."""

    agent: str = Field(max_length=64)
    program: tuple[Path, ...] = Field(min_length=1, max_length=2)
    own_tools: OwnTools = OwnTools.OFF
    workspace: Path
    state: Path


class CommandApart(Written):
    """Command-line agent in another container or unit, whose host takes tasks at `socket`."""

    agent: str = Field(max_length=64)
    socket: Path


class ChatConfig(Written):
    """Bounds within which the agent reads rooms and works on what it is asked.

    With `homeserver_socket` the homeserver is reached there, and its URL names the host alone.
    `credential` names the one that holds the access token of `user`; `state` is a directory that
    the agent alone uses. `oldest_s` is the age from which a message is late. `first_s` is the time
    after which a reply is begun before the answer is there, `edit_s` the least time between edits.
    `audit_socket` is null on a machine that keeps no audit log.
    """

    agent: str
    user: str = Field(pattern=r"^@[!-~]{1,200}:[!-~]{1,54}$")
    homeserver: str = Field(pattern=r"^https?://[^\s?#@]+[^\s?#@/]$")
    homeserver_socket: Path | None = None
    credential: str = "matrix-token"
    gosuto: Path
    waits: bool = False  # for the first Gosuto; else it ends where there is none
    state: Path
    model: ModelAddress
    gateway: GatewayAddress | None = None  # without one there are the rooms' own tools alone
    audit_socket: Path | None = SOCKET
    command: CommandProgram | CommandApart | None = None  # needs a gateway
    default_model: str | None = None  # for a Gosuto that names none
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    turns: int = Field(default=50, ge=1, le=10_000)
    wall_s: float = Field(default=3600, gt=0, le=7 * 86_400)
    errors: int = Field(default=5, ge=1, le=100)
    at_once: int = Field(default=2, ge=1, le=16)
    oldest_s: float = Field(default=900, gt=0, le=7 * 86_400)
    first_s: float = Field(default=2, ge=0, le=60)
    edit_s: float = Field(default=5, ge=0.1, le=600)
    envelopes: bool = False
    hops: int = Field(default=3, ge=1, le=MAX_HOPS)
