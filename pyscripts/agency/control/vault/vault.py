"""The vault: secrets made, changed, bound and erased, each in one transaction under one seal."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy.engine import Connection

from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.control.execution.result import RefusalError
from agency.control.grammar.suggest import closest
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.control.vault import rows
from agency.control.vault.cipher import Box, Entropy, Identity, decrypt, encrypt
from agency.control.vault.keys import Keyring
from agency.control.vault.rows import Secret
from agency.control.vault.sealing import check_seal, seal
from agency.secrets import SecretValue
from agency.store import Database

T = TypeVar("T")

MOST_SECRETS = 1000
MOST_OF_AGENT = 32  # so that a delivery has a bound
_BATCH = 20


async def _nobody_told() -> None:
    """Tell nobody of a change."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret, without its value, and the agents that it is bound to."""

    secret: Secret
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version of a secret that shall come to be; `version` 1 makes the secret."""

    name: str
    type: str
    version: int
    critical: bool
    author: str


@dataclass(frozen=True, slots=True)
class Vault:
    """Keeper of secrets. `changed` is awaited after each change, before it is reported.

    Every call but `bindings_of` checks the seal first: what was changed behind the control plane's
    back is neither used nor sealed anew.
    """

    database: Database
    clock: Clock
    keys: Keyring
    changed: Callable[[], Awaitable[None]] = _nobody_told
    entropy: Entropy = os.urandom

    async def listed(self) -> list[Listed]:
        """Return every secret, by name."""

        def look(connection: Connection) -> list[Listed]:
            self.check(connection)
            bound = rows.bindings(connection)
            found = rows.all_secrets(connection)
            return [Listed(each, rows.agents_of(bound, each.name)) for each in found]

        return await self.database.read(look)

    async def info(self, name: str) -> Listed:
        """Return one secret.

        Raises:
            RefusalError: there is no such secret.
        """
        found = await self.listed()
        for each in found:
            if each.secret.name == name:
                return each
        raise unknown(name, [each.secret.name for each in found])

    async def next_version(self, name: str) -> int:
        """Return the version that a new value of a secret would have; 1 if there is none."""

        def look(connection: Connection) -> int:
            self.check(connection)
            found = rows.find(connection, name)
            return 1 if found is None else found[0].version + 1

        return await self.database.read(look)

    async def put(self, wanted: Wanted, value: SecretValue) -> Secret:
        """Store a new version; see `store`."""
        made = await self.database.write(lambda c: self.store(c, wanted, value))
        await self.changed()
        return made

    def store(self, connection: Connection, wanted: Wanted, value: SecretValue) -> Secret:
        """Store a version in place of the one before it. Call `changed` after the commit.

        Raises:
            RefusalError: another version came first, or there are too many secrets.
        """
        self.check(connection)
        now = self.clock.now_ms()
        found = rows.find(connection, wanted.name)
        before = None if found is None else found[0]
        if (before.version if before else 0) + 1 != wanted.version:
            raise RefusalError(
                f"{wanted.name} was changed meanwhile, so this value was not stored",
                hint="ask for it again",
            )
        if before is None and len(rows.entries(connection)) >= MOST_SECRETS:
            raise RefusalError(f"there are {MOST_SECRETS} secrets, and may be no more")
        box = encrypt(
            self.keys, Identity(wanted.name, wanted.type, wanted.version), value, self.entropy
        )
        made = Secret(
            wanted.name,
            wanted.type,
            wanted.version,
            wanted.critical,
            wanted.author,
            before.created_ts if before else now,
            now,
            box.key_id,
        )
        rows.put(connection, made, box)
        self.seal(connection)
        return made

    async def delete(self, name: str) -> Secret:
        """Erase a secret with its bindings.

        Raises:
            RefusalError: there is no such secret.
        """

        def change(connection: Connection) -> Secret:
            secret, _ = self._found(connection, name)
            rows.remove(connection, name)
            self.seal(connection)
            return secret

        return await self._change(change)

    async def bind(self, name: str, agent: str, author: str) -> bool:
        """Bind a secret to an agent; return False if it was bound before.

        Raises:
            RefusalError: there is no such secret, or the agent has too many.
        """

        def change(connection: Connection) -> bool:
            self._found(connection, name)
            bound = rows.bindings(connection)
            if (name, agent) in bound:
                return False
            if sum(each == agent for _, each in bound) >= MOST_OF_AGENT:
                raise RefusalError(
                    f"{agent} has {MOST_OF_AGENT} secrets, and may have no more",
                    hint=f"unbind one: !agency secrets unbind NAME {agent}",
                )
            rows.bind(connection, name, agent, author, self.clock.now_ms())
            self.seal(connection)
            return True

        return await self._change(change)

    async def unbind(self, name: str, agent: str) -> bool:
        """Undo a binding; return False if there was none.

        Raises:
            RefusalError: there is no such secret.
        """

        def change(connection: Connection) -> bool:
            self._found(connection, name)
            undone = rows.unbind(connection, name, agent)
            self.seal(connection)
            return undone > 0

        return await self._change(change)

    async def release(self, agent: str) -> int:
        """Undo every binding of an agent that is deleted; return how many there were.

        Another agent of that name, later, is given none of its secrets.
        """

        def change(connection: Connection) -> int:
            self.check(connection)
            undone = rows.unbind_all(connection, agent)
            if undone:
                self.seal(connection)
            return undone

        return await self._change(change)

    async def values_of(self, agent: str) -> tuple[SecretValue, ...]:
        """Return the values that an agent may hold: for the redactor of its log."""

        def look(connection: Connection) -> tuple[SecretValue, ...]:
            self.check(connection)
            wanted = [name for name, bound in rows.bindings(connection) if bound == agent]
            found = [rows.find(connection, name) for name in wanted]
            return tuple(self.opened(*each) for each in found if each is not None)

        return await self.database.read(look)

    async def reencrypt(self) -> int:
        """Encrypt a batch of values with the newest master key; return how many are left.

        Each batch is one transaction: whatever ends the program, every value stays readable with
        one of the two keys.

        Raises:
            VaultError: a value cannot be read.
        """

        def change(connection: Connection) -> int:
            self.check(connection)
            newest = self.keys.newest.id
            for name in rows.under_other_keys(connection, newest, _BATCH):
                found = rows.find(connection, name)
                if found is None:
                    continue
                secret = found[0]
                value = self.opened(*found)
                fresh = encrypt(self.keys, secret.identity, value, self.entropy)
                rows.put(connection, replace(secret, key_id=fresh.key_id), fresh)
            self.seal(connection)
            return len(rows.under_other_keys(connection, newest, MOST_SECRETS))

        return await self.database.write(change)

    def opened(self, secret: Secret, box: Box) -> SecretValue:
        """Decrypt the value of a secret; raises as `decrypt` does."""
        return decrypt(self.keys, secret.identity, box)

    def check(self, connection: Connection) -> None:
        """Check the seal; raises as `check_seal` does."""
        check_seal(
            self.keys,
            facts.read(connection, Fact.VAULT_SEAL),
            rows.entries(connection),
            rows.bindings(connection),
        )

    def seal(self, connection: Connection) -> None:
        """Seal the register as it is now."""
        made = seal(self.keys, rows.entries(connection), rows.bindings(connection))
        facts.keep(connection, Fact.VAULT_SEAL, made)

    async def _change(self, work: Callable[[Connection], T]) -> T:
        done = await self.database.write(work)
        await self.changed()
        return done

    def _found(self, connection: Connection, name: str) -> tuple[Secret, Box]:
        self.check(connection)
        found = rows.find(connection, name)
        if found is None:
            raise unknown(name, [each.name for each in rows.all_secrets(connection)])
        return found


def unknown(name: str, known: list[str]) -> RefusalError:
    """Make the error for a name that no secret has."""
    near = closest(name, known)
    hint = f"did you mean {near}?" if near else "`secrets list` shows them"
    return RefusalError(f"there is no secret {name}", hint=hint)


def basis_of(connection: Connection, name: str) -> str:
    """Return the digest of what an approval about a secret is planned on: version and bindings."""
    found = rows.find(connection, name)
    version = None if found is None else [found[0].version, found[0].critical]
    bound = rows.agents_of(rows.bindings(connection), name)
    return sha256_hex(canonical_json({"secret": version, "agents": list(bound)}))
