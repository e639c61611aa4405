"""Registry of the command-line agents: each module of `agents` has one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from agency.agent.programs.command import agents
from agency.agent.programs.command.launching import Agent, Launch, LaunchError, Settings, checked


def _found() -> dict[str, Agent]:
    found: dict[str, Agent] = {}
    for info in pkgutil.iter_modules(agents.__path__):
        agent: Agent = importlib.import_module(f"{agents.__name__}.{info.name}").AGENT
        found[agent.name] = agent
    return found


AGENTS: Mapping[str, Agent] = MappingProxyType(_found())


def launch_of(name: str, settings: Settings) -> Launch:
    """Render an agent's launch. Pure: the same settings give the same launch.

    Raises:
        LaunchError: there is no such agent, or the settings cannot be launched.
    """
    if name not in AGENTS:
        known = ", ".join(sorted(AGENTS))
        raise LaunchError(f"there is no agent {name!r}", hint=f"name one of: {known}")
    return AGENTS[name].render(checked(settings))
