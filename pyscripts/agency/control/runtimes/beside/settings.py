"""Settings of the programs beside agents, as the control plane's configuration has them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from agency.settings import Strict


class ProgramSettings(Strict):
    """The program of one agent."""

    kind: Literal["builtin"] = "builtin"
    model: str = Field(description="asked where its Gosuto names none")


class ModelSettings(Strict):
    """The way of agents' programs to language models."""

    url: str = Field(
        pattern=r"^http://127\.0\.0\.1:[0-9]{1,5}$", description="where the metering proxy listens"
    )
    tokens: Path = Field(description="directory of the digests of agents' tokens, for the proxy")
    policies: Path | None = Field(
        default=None,
        description="directory of the agents' documents for the proxy; default: it finds them",
    )
    audit_socket: Path | None = Field(
        default=None, description="of the agents' audit log; default: this machine keeps none"
    )
