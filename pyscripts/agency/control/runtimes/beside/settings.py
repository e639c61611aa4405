"""Settings of the programs beside agents, as the control plane's configuration has them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from agency.settings import Strict


class ProgramSettings(Strict):
    """The program of one agent; `agent`, `run` and `own_tools` are of a `command`."""

    kind: Literal["builtin", "command"] = "builtin"
    model: str = Field(description="asked where its Gosuto names none")
    agent: str | None = Field(default=None, description="the command-line agent's name")
    run: tuple[Path, ...] = Field(default=(), max_length=2, description="its program")
    own_tools: Literal["off", "confined"] = Field(
        default="off", description="its own shell and file tools"
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        given = {self.agent is not None, bool(self.run)}
        if given != {self.kind == "command"}:
            raise ValueError("agent and run are set for the kind command, and for no other")
        return self


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
