"""One look at everything that is watched, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agency.clock import Clock
from agency.files import write_atomically
from agency.workspace.audit.storage.place import Place, agents_in
from agency.workspace.audit.watch.following import follow, gone
from agency.workspace.audit.watch.numbers import metrics
from agency.workspace.audit.watch.programs import Programs, Running, running, unusual
from agency.workspace.audit.watch.state import State, read_state, write_state

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watch:
    """Objects of the watch: logs, agents and their programs; and where to keep what was seen."""

    logs: Path
    state: Path
    metrics: Path
    agents: tuple[str, ...]
    agent_of: Callable[[int], str | None]
    programs: Programs = field(default_factory=Programs)

    def look(self, clock: Clock, processes: Callable[[], Iterable[Running]] = running) -> State:
        """Read what is new, write the state and the numbers, and log what a person must see.

        Raises:
            PrerequisiteError: logs cannot be read, or the results not written.
            BadInputError: the kept state cannot be read.
        """
        now = clock.wall()
        before = read_state(self.state)
        with Place(self.logs) as place:
            names = agents_in(place.names())
            seen = {name: follow(place, name, before.agents.get(name), now) for name in names}
        lost = {name: gone(before.agents[name]) for name in before.agents.keys() - seen.keys()}
        state = State(agents=seen | lost)
        found = None
        if self.programs.usual:
            found = unusual(processes(), self._watched, self.programs.usual)
            for agent, names_of in found.items():
                _tell("an agent runs unusual programs", agent, programs=list(names_of))
        for agent, watched in state.agents.items():
            if watched.broken is not None:
                _tell("an agent's audit log is broken", agent, reason=watched.broken)
        write_state(self.state, state)
        text = metrics(state, self.agents, found, now)
        write_atomically(self.metrics, text.encode(), mode=0o644)
        return state

    def _watched(self, uid: int) -> str | None:
        agent = self.agent_of(uid)
        return None if agent in self.programs.free else agent


def _tell(message: str, agent: str, **fields: object) -> None:
    _log.error(message, extra={"fields": {"agent": agent, **fields}})
