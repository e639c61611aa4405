"""Staff: agents that commands make, their accounts on the homeserver, and their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from agency import naming
from agency.control.agents.inventory import Inventory
from agency.control.agents.tasks import Tasks
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import RefusalError, Result, Step, Stored, say_nothing
from agency.control.store.agents import AgentRecord, Creation, Desired
from agency.control.store.audit import Outcome
from agency.matrix import MatrixError
from agency.secrets import SecretValue


class Accounts(Protocol):
    """The agents' accounts on the homeserver."""

    def is_ours(self, user: str) -> bool:
        """Return whether the control plane may act for a user."""

    async def exists(self, user: str) -> bool:
        """Return whether the homeserver knows an account."""

    async def register(self, user: str) -> None:
        """Make an account where it is missing."""

    async def show(self, user: str, display_name: str, avatar: str = "") -> None:
        """Give an account its name, and its picture if one is given."""

    async def admit(self, room: str, user: str) -> str:
        """Have an account join, or invite one that is not ours; why not, if it cannot."""

    async def log_in(self, user: str) -> str:
        """Log an account in and return its token; the one before opens nothing any more."""

    async def log_out(self, user: str) -> None:
        """End every session of an account."""

    async def dismiss(self, user: str, room: str | None) -> int:
        """End an account's sessions and have it leave every room; return their number.

        One that is not ours is taken out of `room`.
        """


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
    the control room brings in, `people` those who have a role here, or are other users of ours.
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
    people: Callable[[], Collection[str]]
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
        self,
        name: str,
        template: str,
        variables: Mapping[str, str],
        by: str,
        trace: str,
        *,
        mxid: str | None = None,
        step: Step = say_nothing,
    ) -> Result:
        """Make an agent from a template; nothing runs until it is started.

        `mxid` is an account that there is, which becomes the agent's; else it gets one of its own.

        Raises:
            RefusalError: there is such an agent, no such template, a variable of it is wrong or
                missing, its runtime is one that NixOS declares and has no slot, or the account
                cannot be an agent's.
            MatrixError: the homeserver does not say whether there is that account.
        """
        if name in self.inventory:
            raise RefusalError(
                f"there is an agent {name} already", hint=f"see it: !agency agents show {name}"
            )
        if self.inventory.is_reserved(name):
            raise RefusalError(f"{name} is the name of a slot", hint="give the agent another name")
        await step("writing its first document")
        written = await self.draft(template, name, variables, by, trace)
        matrix_id = naming.matrix_id(naming.agent_localpart(name), self.domain)
        if mxid is not None:
            await step(f"looking for the account {mxid}")
            matrix_id = await self._existing(mxid, matrix_id)
        await step("choosing its port")
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
        """Choose the slot and the port of a new agent.

        Where the runtime needs no slot, it takes one for its program alone.
        """
        needs_slot = self.runtime == "systemd"
        slot = self.inventory.free_slot(with_program=not needs_slot)
        if slot is None and not needs_slot:
            return "", self.inventory.free_port(name)
        if slot is None:
            raise RefusalError(
                "the agents here are users and units that NixOS declares, and no slot is free",
                hint=(
                    "add to `agents` in instance.yaml, render, and switch:\n"
                    f"  {name}:\n    role: {template}"
                ),
            )
        return slot.name, slot.port

    async def _existing(self, mxid: str, own: str) -> str:
        """Check that an account can become an agent's; return it.

        Raises:
            RefusalError: it cannot.
            MatrixError: the homeserver does not say whether there is such an account.
        """
        why, hint = "", ""
        if mxid.partition(":")[2] != self.domain:
            why, hint = "is an account of another homeserver", f"name one of {self.domain}"
        elif self.accounts.is_ours(mxid):
            why, hint = "is of the agents' own", f"leave --mxid out: the agent gets {own}"
        elif mxid in self.people():
            why, hint = "is a person's, or another user's of this agency", "agents never command"
        elif any(mxid == each.matrix_id for each in self.inventory.values()):
            why, hint = "is another agent's already", "give the agent another account"
        elif not await self.accounts.exists(mxid):
            why, hint = "does not exist", f"leave --mxid out: the agent gets {own}"
        if why:
            raise RefusalError(f"{mxid} {why}", hint=hint)
        return mxid

    async def register(
        self, name: str, display_name: str, avatar: str, step: Step = say_nothing
    ) -> Result:
        """Make an agent's account, name it, and bring it into the control room.

        Raises:
            RefusalError: it is disabled, or its account is not ours to name.
            MatrixError: the homeserver refused or did not answer.
        """
        user, room = await self._account_of(name), self.room_id()
        if room is None:
            raise RefusalError("there is no control room yet")
        ours = self.accounts.is_ours(user)
        if ours:
            await step("making its account")
            await self.accounts.register(user)
            await step("giving it its name")
            await self.accounts.show(user, display_name or name, avatar)
        elif display_name or avatar:
            raise RefusalError(
                f"{user} is not of the agents' own accounts",
                hint="whoever logs in there gives it its name and picture",
            )
        await step("bringing it into the control room")
        why = await self.accounts.admit(room, user)
        if why:
            return Result(why, outcome=Outcome.FAILED, detail={"matrix_id": user})
        is_in = "is in the control room" if ours else "is invited to the control room"
        return Result(f"{user} is {name}'s account, and {is_in}.", detail={"matrix_id": user})

    async def log_in(self, name: str) -> SecretValue:
        """Log an agent's account in; return the token, which ends the one before.

        Raises:
            RefusalError: it is disabled, or its account is not ours.
            MatrixError: the homeserver refused or did not answer.
        """
        user = await self._account_of(name)
        if not self.accounts.is_ours(user):
            raise RefusalError(
                f"{user} is not of the agents' own accounts, and only its owner can log it in",
                hint=f"keep a token of it: !agency secrets set {name}-matrix-token "
                "--type=matrix-token",
            )
        await self.accounts.register(user)
        return SecretValue(await self.accounts.log_in(user))

    async def log_out(self, name: str) -> None:
        """End the sessions of an agent's account. Raises as `log_in` does."""
        await self.accounts.log_out(self.lifecycle.entry(name).matrix_id)

    async def _account_of(self, name: str) -> str:
        entry = self.lifecycle.entry(name)
        record = await self.lifecycle.record(name)
        if record is not None and record.desired in (Desired.DISABLED, Desired.DELETED):
            raise RefusalError(
                f"{name} is {record.wish}", hint=f"enable it first: !agency agents enable {name}"
            )
        return entry.matrix_id

    async def dismiss(self, name: str) -> tuple[str, bool]:
        """End the sessions of an agent's account, have it leave.

        Returns a sentence about it, and whether it was done.
        """
        user = self.lifecycle.entry(name).matrix_id
        self._set(user, present=False)
        try:
            rooms = await self.accounts.dismiss(user, self.room_id())
        except MatrixError as error:
            return f" {user} could not leave its rooms: {error.message}.", False
        if not self.accounts.is_ours(user):
            taken = "was taken out of the control room" if rooms else "was not in the control room"
            return f" {user} {taken}; its tokens are its owner's to revoke.", True
        left = f"left {rooms} rooms" if rooms != 1 else "left its room"
        return f" {user} {left}, and its tokens open nothing any more.", True

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
        about, _done = await self.dismiss(name)
        return replace(result, text=text + about)

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
