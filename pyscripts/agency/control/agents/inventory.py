"""The agents that there are: those of the configuration, and those that a command made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from agency import naming
from agency.control.config import AgentEntry
from agency.control.execution.result import RefusalError
from agency.control.store.agents import Change, Creation, Deletion


class Inventory(Mapping[str, AgentEntry]):
    """Every agent by name, as the store has it; `apply` follows what was committed there.

    `changed` is called after each change.
    """

    def __init__(self, configured: Iterable[AgentEntry], created: Iterable[Creation] = ()) -> None:
        self._spare: dict[str, AgentEntry] = {}
        self._configured: dict[str, AgentEntry] = {}
        for each in configured:
            (self._spare if each.spare else self._configured)[each.name] = each
        self._created: dict[str, Creation] = {}
        self._entries = dict(self._configured)
        self.matrix_ids = self._accounts()
        self.ports = Ports(self)
        self.changed: Callable[[], None] = lambda: None
        self.apply([*created])

    def __getitem__(self, name: str) -> AgentEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def is_created(self, name: str) -> bool:
        """Return whether a command made this agent."""
        return name in self._created

    def creation(self, name: str) -> Creation | None:
        """Return how an agent was made; None for one of the configuration."""
        return self._created.get(name)

    @property
    def slots(self) -> Mapping[str, str]:
        """The slot of each agent that has one."""
        return {name: made.slot for name, made in self._created.items() if made.slot}

    def free_slot(self, *, with_program: bool = False) -> AgentEntry | None:
        """Choose a slot that no agent has, by name; None if all are taken or there is none."""
        taken = {*self.slots.values()}
        free = (each for name, each in sorted(self._spare.items()) if name not in taken)
        return next((each for each in free if each.program or not with_program), None)

    def occupant(self, place: str) -> AgentEntry:
        """Return the agent that runs under a name: the one in this slot, or the one of this name.

        A slot that is free is told as it is declared. Raises KeyError if there is neither.
        """
        for name, slot in self.slots.items():
            if slot == place:
                return self._entries[name]
        return self._entries.get(place) or self._spare[place]

    def port_of(self, name: str) -> int:
        """Return the port of an agent or of a slot. Raises KeyError if there is none."""
        return (self._entries.get(name) or self._spare[name]).port

    def is_reserved(self, name: str) -> bool:
        """Return whether a name is that of a slot."""
        return name in self._spare

    def apply(self, changes: Sequence[Change]) -> None:
        """Follow changes that are in the store; those of the configuration stay as they are."""
        moved = False
        for change in changes:
            if isinstance(change, Creation) and change.name not in self._configured:
                self._created[change.name] = change
                self._entries[change.name] = AgentEntry(
                    name=change.name,
                    role=change.role,
                    matrix_id=change.matrix_id,
                    port=change.port,
                )
                moved = True
            elif isinstance(change, Deletion) and change.name in self._created:
                del self._created[change.name]
                del self._entries[change.name]
                moved = True
        if moved:
            self.matrix_ids = self._accounts()
            self.changed()

    def _accounts(self) -> frozenset[str]:
        return frozenset(entry.matrix_id for entry in self._entries.values())

    def free_port(self, name: str) -> int:
        """Choose the port of a new agent: by its name, or the next one that no agent has.

        Raises:
            RefusalError: all are taken.
        """
        taken = {each.port for each in (*self._entries.values(), *self._spare.values())}
        ports, first = naming.AGENT_PORTS, naming.agent_port(name)
        for step in range(len(ports)):
            port = ports[(first - ports.start + step) % len(ports)]
            if port not in taken:
                return port
        raise RefusalError("no port is left for another agent", hint="delete one that is unused")


class MatrixIds(Collection[str]):
    """The accounts of the agents of an inventory, as it is now."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __contains__(self, user: object) -> bool:
        return user in self._inventory.matrix_ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory.matrix_ids)

    def __len__(self) -> int:
        return len(self._inventory)


class Ports(Mapping[str, int]):
    """The port of each agent of an inventory, as it is now; a slot's is found by its name, too."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __getitem__(self, name: str) -> int:
        return self._inventory.port_of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory)

    def __len__(self) -> int:
        return len(self._inventory)
