"""Way to models of a local agency: one metering proxy, if the instance has models."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agency import naming
from agency.control import (
    ControlConfig,
    ModelSettings,
    ProgramSettings,
    policy_file,
    token_digest,
)
from agency.files import write_atomically
from agency.instance import Instance, ProxyPlace, model_key, proxy_document
from agency.ports import LOOPBACK
from agency.secrets import SecretValue
from agency.settings import parse

MODELS = "models"
MODELS_PORT = naming.SERVICE_PORTS["models"]


def tokens_of(state_dir: Path) -> Path:
    """Return the directory of the digests of agents' tokens."""
    return state_dir / "model-tokens"


def proxy_config_file(directory: Path) -> Path:
    """Return the path of the proxy's configuration."""
    return directory / "proxy.json"


def write_proxy_config(instance: Instance, directory: Path, port: int, state_dir: Path) -> Path:
    """Write the proxy's configuration below its directory; return the file."""
    place = ProxyPlace(
        {"host": LOOPBACK, "port": port},
        str(directory / "ledger.db"),
        str(token_digest(tokens_of(state_dir), "{agent}")),
        str(policy_file(state_dir, "{agent}")),
    )
    directory.mkdir(mode=0o700, exist_ok=True)
    file = proxy_config_file(directory)
    write_atomically(file, json.dumps(proxy_document(instance, place), indent=2).encode())
    return file


def proxy_argv(config: Path, descriptor: int) -> tuple[str, ...]:
    """Return the command that serves the proxy on a held port. Pure."""
    program = (sys.executable, "-m", "agency", "agent", "proxy")
    return (*program, "--config", str(config), f"--listen-fd={descriptor}")


def program_tokens(agent: Path) -> Iterator[SecretValue]:
    """Read the tokens that the programs of an agent hold, below its directory."""
    for path in sorted(agent.glob("*/credentials/*")):
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            yield SecretValue(path.read_text().strip())


def keys_of(instance: Instance) -> tuple[str, ...]:
    """Name the secrets that are the keys of providers."""
    providers = {} if instance.models is None else instance.models.providers
    return tuple(model_key(name) for name, each in providers.items() if each.key)


def with_programs(config: ControlConfig, instance: Instance, port: int | None) -> ControlConfig:
    """Add the programs of agents and the way to their models to the settings. Pure.

    Raises:
        BadInputError: an agent of a local agency, a plain process, cannot run its program so.
    """
    if port is None:
        return config
    entries = []
    for agent in config.agents:
        program = instance.agents[agent.name].program
        told: dict[str, Any] = {}
        if program is not None:
            told["program"] = ProgramSettings(
                kind=program.kind,
                model=program.model,
                agent=program.agent,
                run=tuple(map(Path, program.run)),
                own_tools=program.own_tools,
            )
        entries.append(agent.model_copy(update=told))
    models = ModelSettings(url=f"http://{LOOPBACK}:{port}", tokens=tokens_of(config.state_dir))
    updated = config.model_copy(update={"agents": tuple(entries), "models": models})
    return parse(ControlConfig, updated.model_dump_json().encode(), where="instance.yaml")
