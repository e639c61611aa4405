"""What the control plane is told at start: one JSON file, made from the instance.

Secrets are not in it: `matrix-as-token` and `matrix-hs-token` are read from the files of these
names in `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential, or the local supervisor).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentEntry(_Section):
    """An agent that the control plane may start."""

    name: str
    role: str
    matrix_id: str
    port: int = Field(ge=1, le=65535)


class Limits(_Section):
    """Bounds; every one is documented in docs/commands.md."""

    max_command_age_s: float = Field(default=600, gt=0)
    max_command_bytes: int = Field(default=4096, gt=0)
    max_transaction_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    max_inbox: int = Field(default=10_000, gt=0, description="unfinished events; more are refused")
    agent_start_timeout_s: float = Field(default=15, gt=0)
    agent_stop_timeout_s: float = Field(default=5, gt=0)
    send_attempts: int = Field(default=20, gt=0)


class ControlConfig(_Section):
    """The whole configuration."""

    instance: str
    domain: str
    homeserver_url: str
    listen_host: str = "127.0.0.1"
    listen_port: int = Field(ge=1, le=65535)
    bot_id: str
    control_room_alias: str
    operators: tuple[str, ...]
    agents: tuple[AgentEntry, ...]
    database_url: str = Field(description="SQLAlchemy async URL")
    state_dir: Path
    runtime: Literal["process", "systemd"] = "process"
    limits: Limits = Limits()
