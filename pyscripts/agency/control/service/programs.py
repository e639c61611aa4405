"""Programs of agents, made from the configuration; nothing where no agent has one.

An agent in a slot has its program: the runtimes know it by the name of the slot, and `whose` tells
which agent that is now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agency.control.config import AgentEntry, ControlConfig
from agency.control.runtimes.beside.base import Beside, Besides, Occupant, nothing_beside
from agency.control.runtimes.beside.hosted import Hosted, Hosting, nothing_hosted
from agency.matrix import MatrixSession

if TYPE_CHECKING:
    from agency.control.runtimes.beside.crew import Hired
    from agency.control.runtimes.docker.crew import ContainerCrew, Yard
    from agency.control.runtimes.docker.runtime import Crews

# The agent that runs under a name; see Inventory.occupant.
Whose = Callable[[str], AgentEntry]


def besides_of(config: ControlConfig, api: MatrixSession, whose: Whose) -> Besides:
    """Make the factory of what runs beside the agents of a configuration, as processes."""
    working = _working(config)
    if not working:
        return nothing_beside
    from agency.control.runtimes.beside.crew import Crew
    from agency.control.runtimes.beside.writing import Places

    hired = _hired(config, api, whose)

    def beside(name: str, directory: Path, marker: str) -> Beside | None:
        entry = working.get(name)
        if entry is None or entry.program is None:
            return None
        places = Places(directory.absolute())
        return Crew(name, _occupant(whose, name), entry.program, hired, places, marker)

    return beside


def crews_of(config: ControlConfig, api: MatrixSession, whose: Whose) -> Crews | None:
    """Make the factory of what runs beside the agents of a configuration, as containers."""
    working = _working(config)
    if not working or config.docker is None:
        return None
    from agency.control.runtimes.docker.crew import ContainerCrew

    hired = _hired(config, api, whose)

    def crew(name: str, yard: Yard) -> ContainerCrew | None:
        entry = working.get(name)
        if entry is None or entry.program is None:
            return None
        return ContainerCrew(name, _occupant(whose, name), entry.program, hired, yard)

    return crew


def hosted_of(config: ControlConfig, api: MatrixSession, whose: Whose) -> Hosting:
    """Make the factory of what runs beside the agents of a configuration, as units of systemd."""
    working = _working(config)
    if not working:
        return nothing_hosted
    hired = _hired(config, api, whose)

    def hosted(name: str, directory: Path) -> Hosted | None:
        entry = working.get(name)
        if entry is None or entry.program is None:
            return None
        return Hosted(name, entry.matrix_id, entry.program, hired, directory)

    return hosted


def _working(config: ControlConfig) -> dict[str, AgentEntry]:
    """Return the agents that have a program, if there is a way to models."""
    if config.models is None:
        return {}
    return {agent.name: agent for agent in config.agents if agent.program is not None}


def _occupant(whose: Whose, place: str) -> Callable[[], Occupant]:
    def occupant() -> Occupant:
        entry = whose(place)
        return Occupant(entry.name, entry.matrix_id)

    return occupant


def _hired(config: ControlConfig, api: MatrixSession, whose: Whose) -> Hired:
    from agency.control.runtimes.beside.accounts import MatrixAccounts
    from agency.control.runtimes.beside.crew import Hired

    assert config.models is not None
    accounts = MatrixAccounts(api, lambda agent: whose(agent).matrix_id)
    return Hired(config.homeserver_url, config.models, accounts)
