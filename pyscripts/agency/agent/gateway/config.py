"""Configuration of a gateway: one JSON file; its two tokens are credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from agency import naming, ports
from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import SecretValue, read_credential
from agency.settings import Strict, load

_HINT = "the agent's runtime writes this file; docs/agents-gateway.md has an example"
_MAX_CONFIG = 64 * 1024


class GatewayConfig(Strict):
    """Configuration of the gateway of one agent.

    The program reaches it by `socket`, or by `port` on loopback. `audit_socket` is null only on a
    machine that keeps no audit log: with one, a call without its row is not made.
    """

    agent: str
    control_socket: Path
    state_dir: Path
    socket: Path | None = None
    host: str = ports.LOOPBACK
    port: int | None = Field(default=None, ge=1, le=65535)
    audit_socket: Path | None
    hidden: tuple[Path, ...] = Field(
        default=(), max_length=32, description="what its runtime keeps where its servers could look"
    )
    control_uids: tuple[int, ...] = Field(
        default=(), max_length=16, description="besides its own: who may connect to the control"
    )

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if (self.socket is None) == (self.port is None):
            raise ValueError("must have exactly one of socket and port")
        return self


def load_gateway_config(path: Path) -> GatewayConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: it does not match the schema, or could be reached from outside.
    """
    config = load(path, GatewayConfig, most=_MAX_CONFIG, what="the configuration", hint=_HINT)
    if not naming.is_agent_name(config.agent):
        raise BadInputError(
            "agent: not the name of an agent", where=str(path), hint=naming.AGENT_NAME_HINT
        )
    if not ports.is_loopback(config.host):
        raise BadInputError(
            f"host: {config.host} is not a loopback address",
            where=str(path),
            hint="a gateway serves its agent on 127.0.0.1, ::1 or a Unix socket only",
        )
    return config


def load_gateway_token(name: str) -> SecretValue:
    """Read one of the two tokens.

    Raises:
        PrerequisiteError: it is missing, short, or not fit for an HTTP header.
    """
    token = read_credential(name)
    text = token.reveal()
    if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
        raise PrerequisiteError(
            "the token is not 16 or more printable ASCII letters without spaces",
            where=f"credential {name}",
            hint="let the runtime start this gateway anew; it makes fresh tokens",
        )
    return token
