"""Programs beside agents, made from the configuration; nothing where no agent has one."""

from __future__ import annotations

from pathlib import Path

from agency.control.config import ControlConfig
from agency.control.runtimes.beside.base import Beside, Besides, nothing_beside
from agency.control.runtimes.beside.hosted import Hosted, Hosting, nothing_hosted
from agency.matrix import MatrixSession


def besides_of(config: ControlConfig, api: MatrixSession) -> Besides:
    """Make the factory of what runs beside the agents of a configuration."""
    working = {agent.name: agent for agent in config.agents if agent.program is not None}
    models = config.models
    if not working or models is None:
        return nothing_beside
    from agency.control.runtimes.beside.accounts import MatrixAccounts
    from agency.control.runtimes.beside.crew import Crew, Hired
    from agency.control.runtimes.beside.writing import Places

    accounts = MatrixAccounts(api, lambda agent: working[agent].matrix_id)
    hired = Hired(config.homeserver_url, models, accounts)

    def beside(name: str, directory: Path, marker: str) -> Beside | None:
        entry = working.get(name)
        if entry is None or entry.program is None:
            return None
        places = Places(directory.absolute())
        return Crew(name, entry.matrix_id, entry.program, hired, places, marker)

    return beside


def hosted_of(config: ControlConfig, api: MatrixSession) -> Hosting:
    """Make the factory of what runs beside the agents that are units of systemd."""
    working = {agent.name: agent for agent in config.agents if agent.program is not None}
    models = config.models
    if not working or models is None:
        return nothing_hosted
    from agency.control.runtimes.beside.accounts import MatrixAccounts
    from agency.control.runtimes.beside.crew import Hired

    accounts = MatrixAccounts(api, lambda agent: working[agent].matrix_id)
    hired = Hired(config.homeserver_url, models, accounts)

    def hosted(name: str, directory: Path) -> Hosted | None:
        entry = working.get(name)
        if entry is None or entry.program is None:
            return None
        return Hosted(name, entry.matrix_id, entry.program, hired, directory)

    return hosted
