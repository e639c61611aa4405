"""Start of a command-line agent in this process's place, from its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agency.agent.programs.command.launching import Launch, LaunchError, OwnTools, Settings
from agency.agent.programs.command.registry import AGENTS, launch_of
from agency.agent.programs.command.writing import check_directory, environment_of, write_files
from agency.errors import PrerequisiteError
from agency.settings import Written

Address = Field(max_length=256)


class CommandConfig(Written):
    """Configuration of a command-line agent; it holds no secret, but names the files of two.

    `program` is the agent's program; of a script, its interpreter is the first part. With the two
    sockets it gets a network of its own, in which the ports of both addresses lead there, and
    nothing leads elsewhere.
    """

    agent: str = Field(max_length=64)
    program: tuple[Path, ...] = Field(min_length=1, max_length=2)
    model_url: str = Address
    model: str = Field(max_length=128)
    model_token: Path
    gateway_url: str = Address
    gateway_token: Path
    own_tools: OwnTools
    workspace: Path
    state: Path
    model_socket: Path | None = None
    gateway_socket: Path | None = None

    @model_validator(mode="after")
    def _has_both_sockets(self) -> Self:
        if (self.model_socket is None) != (self.gateway_socket is None):
            raise ValueError("needs both modelSocket and gatewaySocket, or none of them")
        return self

    def ways(self) -> dict[int, Path]:
        """Return the sockets by the ports that lead to them; empty without a network of its own."""
        if self.model_socket is None or self.gateway_socket is None:
            return {}
        ports = (urlsplit(url).port or 80 for url in (self.model_url, self.gateway_url))
        return dict(zip(ports, (self.model_socket, self.gateway_socket), strict=True))

    def settings(self) -> Settings:
        """Return what the renderers take."""
        given = {name: getattr(self, name) for name in Settings.__slots__}
        return Settings(**given)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Agent that is ready to start: its files are written. The environment may hold tokens."""

    launch: Launch
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


def prepare(config: CommandConfig, inherited: Mapping[str, str]) -> Prepared:
    """Write all that an agent needs to start.

    Raises:
        AgencyError: the configuration, the workspace, a token or the program does not allow it.
    """
    settings = config.settings()
    launch = launch_of(config.agent, settings)
    for part in config.program:
        if not part.is_absolute() or not part.is_file():
            raise PrerequisiteError(
                f"the program of {config.agent} is not there",
                where=str(part),
                hint="see docs/bring-your-own-agent.md",
            )
    check_directory(AGENTS[config.agent], launch)
    write_files(launch)
    argv = (*map(str, config.program), *launch.argv)
    return Prepared(launch, argv, environment_of(launch, settings, inherited))


def become(prepared: Prepared) -> NoReturn:
    """Become the agent; it reads its task from the standard input of this process.

    Raises:
        LaunchError: the program cannot be run.
    """
    try:
        os.chdir(prepared.launch.directory)
        os.execve(prepared.argv[0], prepared.argv, dict(prepared.environment))  # noqa: S606 - no shell
    except OSError as error:
        raise LaunchError(
            f"the program cannot be run: {error.strerror}", where=prepared.argv[0]
        ) from None
