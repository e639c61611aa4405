"""Registry of reconcilers. Their modules are imported only for a run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency import settings
from agency.errors import PrerequisiteError, UsageError
from agency.reconcile.engine.contract import Reconciler, Settings

Opener = Callable[[Any], AbstractAsyncContextManager[Reconciler[Any, Any]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One reconciler: its module has `SETTINGS`, a model, and `opened(settings)`, a factory."""

    module: str
    summary: str


RECONCILERS: Mapping[str, Entry] = {
    "swarm-init": Entry(
        "agency.reconcile.swarm.init", "This machine is a Docker Swarm of one node."
    ),
    "proxy-network": Entry(
        "agency.reconcile.swarm.proxy_network", "The overlay network that joins apps and the proxy."
    ),
    "traefik": Entry(
        "agency.reconcile.swarm.traefik", "Traefik runs on the swarm with the wildcard certificate."
    ),
    "synapse-rooms": Entry(
        "agency.reconcile.matrix.synapse_rooms", "The control room and the instance's space."
    ),
    "accounts": Entry(
        "agency.reconcile.matrix.accounts", "Operators' accounts, where nobody logs in by OpenID."
    ),
    "gitlab-bootstrap": Entry(
        "agency.reconcile.gitlab.bootstrap", "GitLab's applications, runner, group and bot."
    ),
    "gitea-client": Entry(
        "agency.reconcile.gitea.client", "The CI engine's OAuth client at a Gitea."
    ),
    # Of recipe CI, which knows its engines; by name, since it lies above this package.
    "pipeline-secrets": Entry(
        "agency.recipes.engine.remote.secrets", "Secrets of recipe CI's pipeline at its engine."
    ),
    "agent-workspaces": Entry(
        "agency.reconcile.agents.workspaces", "Every agent's home and workspace."
    ),
}


def find(name: str) -> Entry:
    """Find the reconciler of that name.

    Raises:
        UsageError: no reconciler has that name.
    """
    entry = RECONCILERS.get(name)
    if entry is None:
        raise UsageError(
            f"there is no reconciler {name!r}",
            where="NAME",
            hint=f"one of {', '.join(RECONCILERS)}; `agency reconcile --list` says what each does",
        )
    return entry


def load(name: str, file: Path) -> tuple[Settings, Opener]:
    """Import a reconciler and read its settings.

    Raises:
        PrerequisiteError: the file or a library is missing.
        BadInputError: the settings are invalid.
    """
    entry = find(name)
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"the Python library {error.name!r} is not installed",
            where=name,
            hint="install the agency with all of its dependencies",
        ) from error
    model: type[Settings] = module.SETTINGS
    return read_settings(model, file), module.opened


def read_settings(model: type[Settings], file: Path) -> Settings:
    """Read and validate a file of settings."""
    return settings.load(
        file,
        model,
        hint="name the file with --config; on NixOS it is /etc/agency/reconcile/<name>.json",
        broken_hint="the file is written from agency.reconcilers.<name>.input; change it there",
    )
