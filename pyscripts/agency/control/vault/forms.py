"""Links by which a person enters one value: made for a command, used once, for ten minutes.

The token stands in the link alone; the store has its digest. The room is told of each value that
came in: the message is queued in the transaction that stores the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.engine import Connection

from agency.canonical import sha256_hex
from agency.clock import iso
from agency.control.execution.result import RefusalError
from agency.control.store import audit, facts
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.facts import Fact
from agency.control.store.outbox import StoredMessage
from agency.control.vault import rows
from agency.control.vault.rows import FormRow, Secret
from agency.control.vault.sealing import is_signed, sign
from agency.control.vault.values import SecretType, checked
from agency.control.vault.vault import Vault, Wanted

FORM_PATH = "/secrets/enter/"
VALID_S = 600.0
LINK = "link"  # the actor of what came through one: who opened it is not known


class Speaking(Protocol):
    """Speaker in the control room; see rooms.speaking."""

    @property
    def room_id(self) -> Callable[[], str | None]:
        """The room's id; None before it is found."""

    @property
    def say(self) -> Callable[[StoredMessage], None]:
        """Hands a message that is committed to the sender."""

    def queue(self, connection: Connection, text: str, room_id: str) -> StoredMessage | None:
        """Queue a message."""


class UsedError(RefusalError):
    """A link that leads nowhere: used, expired, or never made."""


@dataclass(frozen=True, slots=True)
class Forms:
    """Maker of links below `base_url`; `speaker` tells the room of a value that came in."""

    vault: Vault
    base_url: str
    new_token: Callable[[], str]
    speaker: Speaking

    async def link(self, wanted: Wanted, trace: str) -> str:
        """Make the link by which the value of `wanted` is entered; an older one leads nowhere."""
        token, now = self.new_token(), self.vault.clock.now_ms()
        form = FormRow(
            token_hash=_hash(token),
            name=wanted.name,
            type=wanted.type,
            critical=wanted.critical,
            version=wanted.version,
            author=wanted.author,
            trace=trace,
            expires_ts=now + int(VALID_S * 1000),
        )

        signed = replace(form, mac=sign(self.vault.keys, form.covered))

        def change(connection: Connection) -> None:
            rows.forget_forms(connection, now)
            rows.add_form(connection, signed)

        await self.vault.database.write(change)
        return f"{self.base_url}{FORM_PATH}{token}"

    async def find(self, token: str) -> FormRow:
        """Return what a link is for.

        Raises:
            UsedError: it leads nowhere.
        """
        return await self.vault.database.read(lambda c: self._open(c, token))

    async def enter(self, token: str, text: str) -> tuple[FormRow, Secret]:
        """Store the value, use the link up, and queue the notice to the room, in one transaction.

        Raises:
            UsedError: the link leads nowhere.
            RefusalError: the value is not of the secret's type, another version came first, or
                there is no room to tell.
        """
        vault = self.vault

        def change(connection: Connection) -> tuple[FormRow, Secret, StoredMessage | None]:
            form = self._open(connection, token)
            value = checked(SecretType(form.type), text)
            wanted = Wanted(form.name, form.type, form.version, form.critical, form.author)
            made = vault.store(connection, wanted, value)
            rows.set_used(connection, form.token_hash, vault.clock.now_ms())
            detail = audit.audit_detail(asked_by=form.author, version=made.version)
            entry = AuditEntry(
                form.trace, LINK, "secrets enter", f"secret {form.name}", Outcome.DONE, detail
            )
            audit.append(connection, vault.clock, entry)
            return form, made, self._tell(connection, form, made)

        form, made, notice = await vault.database.write(change)
        if notice is not None:
            self.speaker.say(notice)
        await vault.changed()
        return form, made

    def _tell(self, connection: Connection, form: FormRow, secret: Secret) -> StoredMessage | None:
        """Queue the notice of a value to the room: that of now, or else the last one known."""
        room_id = self.speaker.room_id() or facts.read(connection, Fact.CONTROL_ROOM)
        if room_id is None:
            raise RefusalError(
                "no control room could be told of this value, so nothing was stored",
                hint="give it at the machine: agency do secrets set NAME --value-stdin",
            )
        text = (
            f"{secret.name} has version {secret.version} now: a value was entered by the link that "
            f"{form.author} asked for, at {iso(secret.changed_ts / 1000)}."
        )
        return self.speaker.queue(connection, text, room_id)

    def _open(self, connection: Connection, token: str) -> FormRow:
        form, now = rows.find_form(connection, _hash(token)), self.vault.clock.now_ms()
        # Refused alike, so that nobody learns which links there were.
        lasts = form is not None and form.expires_ts - VALID_S * 1000 <= now < form.expires_ts
        ours = form is not None and is_signed(self.vault.keys, form.covered, form.mac)
        if form is None or form.used_ts is not None or not lasts or not ours:
            raise UsedError(
                "this link was used, has expired, or never was one",
                hint="ask for a new one in the control room",
            )
        return form


def _hash(token: str) -> str:
    return sha256_hex(token.encode(errors="surrogatepass"))
