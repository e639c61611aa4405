"""Settings of the programs of an agent's features: `/etc/agency/agents/NAME.json`, by Nix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from agency import settings
from agency.errors import PrerequisiteError, UsageError
from agency.naming import AGENT_NAME_HINT, AGENT_NAME_PATTERN

DIRECTORY = Path("/etc/agency/agents")
WORKSPACE = "agent-space"  # of a home
_NAME = re.compile(AGENT_NAME_PATTERN)
ORIGIN = r"^https?://[A-Za-z0-9*][A-Za-z0-9.*-]{0,252}(:[0-9]{1,5})?$"
Argument = Annotated[str, Field(min_length=1, max_length=4096)]


class Part(BaseModel):
    """Base of the settings of one feature: unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


class TaskLoopSettings(Part):
    """`agency.agents.<name>.taskLoop`."""

    max_tasks: int = Field(ge=1, le=100)
    max_wall_time: int = Field(ge=60, le=86400)
    max_errors: int = Field(ge=1, le=100)
    max_tokens: int | None = Field(default=None, ge=1)
    command: list[Argument] = Field(default_factory=list, max_length=100)
    model: str | None = None


class WorkspaceSettings(Part):
    """`agency.agents.<name>.workspace`."""

    full_name: str
    email: str
    matrix_id: str
    domain: str
    operators: list[str]
    remote: str | None = None


class CodingSettings(Part):
    """`agency.agents.<name>.codingAgent`."""

    branch_prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9/-]*/$", max_length=100)]
    max_reviews: int = Field(ge=0, le=10)
    max_wall_time: int = Field(default=3600, ge=60, le=86400)
    reviews: list[Annotated[list[Argument], Field(min_length=1)]] = Field(
        default_factory=list, max_length=10
    )


class McpSettings(Part):
    """`agency.agents.<name>.mcp`; `servers` are the gateway's, and no program's here."""

    servers: dict[str, object] = Field(default_factory=dict)
    gateway: Annotated[str, Field(pattern=r"^http://127\.0\.0\.1:[0-9]{1,5}/mcp$")] | None = None


class BrowserSettings(Part):
    """`agency.agents.<name>.browser`; `display` is the Wayland socket of a desktop.

    `socket` is where tool servers of the agent reach the browser. `origins` are the only ones that
    it asks; without any it asks what the agent's egress allows. Without `sandbox` pages run with
    all rights of the agent: for a container that has no user namespaces.
    """

    socket: Path | None = None
    display: Path | None = None
    sandbox: bool = True
    origins: list[Annotated[str, Field(pattern=ORIGIN)]] = Field(
        default_factory=list, max_length=100
    )
    extensions: list[Annotated[str, Field(pattern=r"^/[^,]+$")]] = Field(
        default_factory=list, max_length=20
    )


class AgentSettings(BaseModel):
    """Settings of one agent; features that a program does not read are not its business."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    name: str
    role: str
    home: Path
    task_loop: TaskLoopSettings | None = None
    workspace: WorkspaceSettings | None = None
    coding_agent: CodingSettings | None = None
    mcp: McpSettings | None = None
    browser: BrowserSettings | None = None


def load_agent(name: str, directory: Path = DIRECTORY) -> AgentSettings:
    """Read the settings of an agent.

    Raises:
        UsageError: the name is none of an agent. PrerequisiteError: the file is missing.
        BadInputError: it is invalid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:60]!r} is no name of an agent", where="AGENT", hint=AGENT_NAME_HINT
        )
    return settings.load(
        directory / f"{name}.json",
        AgentSettings,
        hint="NixOS writes it for every agent of agency.agents",
        broken_hint="it is written from agency.agents.<name>; change it there",
    )


def feature_off(agent: str, option: str) -> PrerequisiteError:
    """Return the error of a program whose feature is off."""
    return PrerequisiteError(
        "this feature is off",
        where=f"agency.agents.{agent}.{option}",
        hint=f"set agency.agents.{agent}.{option}.enable",
    )
