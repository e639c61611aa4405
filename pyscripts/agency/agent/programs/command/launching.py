"""Launch of a command-line agent: what its configuration is made from, and what is rendered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from agency.errors import BadInputError

# Stands in a rendered file where the writer puts a token.
TOKEN_MARK = "@the-token-of-the-file@"  # noqa: S105 - a mark, no token
# The name of the gateway's MCP server in each agent's configuration; part of the tools' names.
SERVER = "agency"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OwnTools(StrEnum):
    """Rule for an agent's own tools (shell, files)."""

    OFF = "off"  # the model is offered the gateway's tools alone
    CONFINED = "confined"  # they work, within the uid and the workspace


class LaunchError(BadInputError):
    """Settings from which no agent can be launched."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a launch, the same for every agent.

    Attributes:
        model_url: Base address of the proxy's chat-completions, such as `http://127.0.0.1:2100/v1`.
        model_token: File that holds the agent's token for the proxy.
        gateway_url: Address of the gateway's MCP server.
        gateway_token: File that holds the agent's token for the gateway.
        state: The agent's own directory, outside of the workspace; its home while it runs.
    """

    model_url: str
    model: str
    model_token: Path
    gateway_url: str
    gateway_token: Path
    own_tools: OwnTools
    workspace: Path
    state: Path


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """File to write; if `token` is a path, the text of that file replaces `TOKEN_MARK`."""

    path: Path
    content: str
    mode: int = 0o600
    token: Path | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Start of an agent. It reads the task from its standard input.

    Attributes:
        argv: Arguments after the program.
        directory: Where it is started; made where it is missing.
        environment: Values that are no secrets.
        tokens: Files of tokens, by the names of the variables that must hold them.
    """

    files: tuple[RenderedFile, ...]
    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    tokens: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """Command-line agent: how it is launched, and how it names the gateway's tools.

    Attributes:
        tested: The version that the tests start.
        tool_name: Pattern of the name under which the model is offered the gateway's tool `{tool}`.
        answer: Reads the answer out of what it wrote to standard output; raises ValueError if there
            is none.
        runs_unasked: Names in the directory where it is started, or above, that make it run code of
            theirs whatever it is told.
    """

    name: str
    tested: str
    tool_name: str
    render: Callable[[Settings], Launch]
    answer: Callable[[str], str]
    runs_unasked: tuple[str, ...] = ()


def directory_of(settings: Settings) -> Path:
    """Return where an agent is started: in the workspace only if it has tools for that."""
    if settings.own_tools is OwnTools.CONFINED:
        return settings.workspace
    return settings.state / "run"


def checked(settings: Settings) -> Settings:
    """Return settings that can be launched.

    Raises:
        LaunchError: an address is not of this machine, a path is relative, or the workspace holds
            what the agent must not write.
    """
    for where, url in (("modelUrl", settings.model_url), ("gatewayUrl", settings.gateway_url)):
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.username is not None:
            raise LaunchError(
                "the address is none of this machine's loopback",
                where=where,
                hint="name the proxy or gateway that runs beside the agent",
            )
    _check_text(settings.model)
    kept = (settings.model_token, settings.gateway_token, settings.state)
    for path in (settings.workspace, *kept):
        if not path.is_absolute() or ".." in path.parts:
            raise LaunchError("the path is not absolute", where=str(path), hint="name it in full")
        _check_text(str(path))
    for path in kept:
        if path.is_relative_to(settings.workspace):
            raise LaunchError(
                "the path is in the workspace, where the agent's work could change it",
                where=str(path),
                hint="keep state and tokens beside the workspace",
            )
    return settings


def _check_text(text: str) -> None:
    # A brace or dollar would be read as a reference by one of the agents.
    if not text or any(mark in text for mark in "{}$\n\r\0"):
        raise LaunchError("the text is empty or holds one of { } $", where=text or "model")
