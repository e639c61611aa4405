"""Staff: agents that commands make, their accounts on the homeserver, and their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from agency import naming
from agency.control.agents.inventory import Inventory
from agency.control.agents.tasks import Tasks
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import RefusalError, Result, Stored
from agency.control.store.agents import AgentRecord, Creation, Desired
from agency.control.store.audit import Outcome
from agency.matrix import MatrixError


class Accounts(Protocol):
    """The agents' accounts on the homeserver."""

    async def admit(self, room: str, agent: str, display_name: str) -> str:
        """Make an account where it is missing, name it, and have it join; why not, if it cannot."""

    async def dismiss(self, agent: str) -> int:
        """Have an account leave every room; return their number."""


Draft = Callable[[str, str, Mapping[str, str], str, str], Awaitable[Stored | None]]


async def _no_draft(
    _template: str, _agent: str, _values: Mapping[str, str], _by: str, _trace: str
) -> None:
    """Take every template, and write nothing: for an agency without any."""


async def _no_secrets(_agent: str) -> int:
    """Take nothing: for an agency without a vault."""
    return 0


@dataclass(slots=True)
class Staff:
    """Hirer of agents. `draft` writes the first version of an agent's document from a template.

    `release` takes its secrets from an agent that is deleted, and returns how many it had.

    `runtime` is the kind in which a new agent would run; `members` are the users whom the upkeep of
    the control room brings in.
    """

    inventory: Inventory
    lifecycle: Lifecycle
    accounts: Accounts
    members: list[str]
    runtime: str
    domain: str
    room_id: Callable[[], str | None]
    records: Callable[[], Awaitable[Mapping[str, AgentRecord]]]
    wake: Callable[[], None]
    tasks: Tasks
    draft: Draft = _no_draft
    release: Callable[[str], Awaitable[int]] = _no_secrets
    _out: frozenset[str] = frozenset()

    async def open(self) -> None:
        """Choose who is brought into the control room, now and whenever the inventory changes."""
        records = await self.records()
        down = (Desired.DISABLED, Desired.DELETED)
        out = [name for name, record in records.items() if record.desired in down]
        self._out = frozenset(
            self.inventory[name].matrix_id for name in out if name in self.inventory
        )
        self._choose()
        self.inventory.changed = self._changed

    async def create(
        self, name: str, template: str, variables: Mapping[str, str], by: str, trace: str
    ) -> Result:
        """Make an agent from a template; nothing runs until it is started.

        Raises:
            RefusalError: there is such an agent, no such template, a variable of it is wrong or
                missing, or its runtime is one that NixOS declares and has no slot.
        """
        if name in self.inventory:
            raise RefusalError(
                f"there is an agent {name} already", hint=f"see it: !agency agents show {name}"
            )
        if self.inventory.is_reserved(name):
            raise RefusalError(f"{name} is the name of a slot", hint="give the agent another name")
        written = await self.draft(template, name, variables, by, trace)
        matrix_id = naming.matrix_id(naming.agent_localpart(name), self.domain)
        slot, port = self._place(name, template)
        made = Creation(name, template, template, matrix_id, port, by, variables, slot)
        return Result(
            f"{name} is made from the template {template}, and does not run yet. "
            f"!agency agents start {name} starts it.",
            detail={
                "template": template,
                "matrix_id": matrix_id,
                "port": port,
                "slot": slot or None,
            },
            changes=(made,),
            stored=() if written is None else (written,),
        )

    def _place(self, name: str, template: str) -> tuple[str, int]:
        """Choose the slot, if its runtime needs one, and the port of a new agent."""
        if self.runtime != "systemd":
            return "", self.inventory.free_port(name)
        slot = self.inventory.free_slot()
        if slot is None:
            raise RefusalError(
                "the agents here are users and units that NixOS declares, and no slot is free",
                hint=(
                    "add to `agents` in instance.yaml, render, and switch:\n"
                    f"  {name}:\n    role: {template}"
                ),
            )
        return slot.name, slot.port

    async def register(self, name: str) -> Result:
        """Make an agent's account, name it, and bring it into the control room."""
        entry = self.lifecycle.entry(name)
        record = await self.lifecycle.record(name)
        if record is not None and record.desired in (Desired.DISABLED, Desired.DELETED):
            raise RefusalError(
                f"{name} is {record.wish}", hint=f"enable it first: !agency agents enable {name}"
            )
        room = self.room_id()
        if room is None:
            raise RefusalError("there is no control room yet")
        why = await self.accounts.admit(room, entry.matrix_id, name)
        if why:
            return Result(why, outcome=Outcome.FAILED, detail={"matrix_id": entry.matrix_id})
        return Result(
            f"{entry.matrix_id} is {name}'s account, and is in the control room.",
            detail={"matrix_id": entry.matrix_id},
        )

    async def dismiss(self, name: str) -> str:
        """Have an agent's account leave every room; return a sentence about it."""
        user = self.lifecycle.entry(name).matrix_id
        self._set(user, present=False)
        try:
            rooms = await self.accounts.dismiss(user)
        except MatrixError as error:
            return f" {user} could not leave its rooms: {error.message}."
        return f" {user} left {rooms} rooms." if rooms != 1 else f" {user} left its room."

    async def delete(self, name: str) -> Result:
        """Stop an agent that a command made, for good, and unbind its secrets.

        Raises:
            RefusalError: it is declared, not made.
            AgencyError: its secrets cannot be unbound; it is not deleted then.
        """
        result = await self.lifecycle.delete(name)
        secrets = await self.release(name)
        text = result.text
        if secrets:
            bound = "Its secret is" if secrets == 1 else f"Its {secrets} secrets are"
            text += f" {bound} bound to it no more."
        return replace(result, text=text + await self.dismiss(name))

    def welcome(self, name: str) -> None:
        """Have the upkeep bring an agent's account into the control room again."""
        self._set(self.lifecycle.entry(name).matrix_id, present=True)
        self.wake()

    def _set(self, user: str, *, present: bool) -> None:
        """Have the upkeep bring a user in, or leave them out."""
        self._out = self._out - {user} if present else self._out | {user}
        self._choose()

    def _choose(self) -> None:
        """Follow the inventory: whoever is new is brought in."""
        every = (entry.matrix_id for entry in self.inventory.values())
        self.members[:] = [user for user in every if user not in self._out]

    def _changed(self) -> None:
        self._choose()
        self.wake()
