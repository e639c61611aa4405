"""Rows of the vault in the store: secrets, bindings, leases, links. Nothing here decrypts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.store import schema
from agency.control.vault.cipher import Box, Identity
from agency.control.vault.sealing import Binding, Entry

_secrets, _bindings = schema.secrets, schema.secret_bindings
_leases, _forms = schema.secret_leases, schema.secret_forms


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret without its value; times are milliseconds since the epoch."""

    name: str
    type: str
    version: int
    critical: bool
    author: str  # of this version
    created_ts: int
    changed_ts: int
    key_id: str

    @property
    def identity(self) -> Identity:
        """The names that its value is bound to."""
        return Identity(self.name, self.type, self.version)


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease: redeemed once until `offered_until_ts`, and held until it expires."""

    id: str
    agent: str
    secret: str
    version: int
    token_hash: str
    offered_until_ts: int
    expires_ts: int
    redeemed_ts: int | None = None


@dataclass(frozen=True, slots=True)
class FormRow:
    """A link by which one value is entered: for what, and by whom it was asked for."""

    token_hash: str
    name: str
    type: str
    critical: bool
    version: int
    author: str
    trace: str
    expires_ts: int
    used_ts: int | None = None
    mac: str = ""

    @property
    def covered(self) -> list[object]:
        """The part that its MAC covers: everything but whether it was used."""
        what = [self.token_hash, self.name, self.type, self.critical, self.version]
        return [*what, self.author, self.trace, self.expires_ts]


def all_secrets(connection: Connection) -> list[Secret]:
    """Return every secret, by name."""
    return [_secret(row) for row in connection.execute(select(_secrets).order_by(_secrets.c.name))]


def find(connection: Connection, name: str) -> tuple[Secret, Box] | None:
    """Return a secret and its encrypted value; None if there is none of that name."""
    row = connection.execute(select(_secrets).where(_secrets.c.name == name)).one_or_none()
    return None if row is None else (_secret(row), Box(row.key_id, row.nonce, row.ciphertext))


def entries(connection: Connection) -> list[Entry]:
    """Return what the seal covers of each secret."""
    found = connection.execute(
        select(
            _secrets.c.name,
            _secrets.c.type,
            _secrets.c.version,
            _secrets.c.critical,
            _secrets.c.key_id,
            _secrets.c.nonce,
        )
    )
    return [(r.name, r.type, r.version, bool(r.critical), r.key_id, r.nonce) for r in found]


def put(connection: Connection, secret: Secret, box: Box) -> None:
    """Store a version of a secret in place of the one before it, which is thereby erased."""
    values = {
        "name": secret.name,
        "type": secret.type,
        "version": secret.version,
        "critical": int(secret.critical),
        "author": secret.author,
        "created_ts": secret.created_ts,
        "changed_ts": secret.changed_ts,
        "key_id": box.key_id,
        "nonce": box.nonce,
        "ciphertext": box.ciphertext,
    }
    connection.execute(delete(_secrets).where(_secrets.c.name == secret.name))
    connection.execute(insert(_secrets), values)


def remove(connection: Connection, name: str) -> None:
    """Erase a secret with its bindings and links; leases say who may hold it still."""
    connection.execute(delete(_secrets).where(_secrets.c.name == name))
    connection.execute(delete(_bindings).where(_bindings.c.secret == name))
    connection.execute(delete(_forms).where(_forms.c.name == name))


def under_other_keys(connection: Connection, key_id: str, most: int) -> list[str]:
    """Return names of secrets that are encrypted with another master key."""
    statement = select(_secrets.c.name).where(_secrets.c.key_id != key_id)
    return list(connection.scalars(statement.order_by(_secrets.c.name).limit(most)))


def bindings(connection: Connection) -> list[Binding]:
    """Return every binding of a secret to an agent."""
    ordered = select(_bindings.c.secret, _bindings.c.agent).order_by(
        _bindings.c.secret, _bindings.c.agent
    )
    return [(row.secret, row.agent) for row in connection.execute(ordered)]


def bind(connection: Connection, secret: str, agent: str, author: str, now_ts: int) -> None:
    """Bind a secret to an agent."""
    values = {"secret": secret, "agent": agent, "author": author, "created_ts": now_ts}
    connection.execute(insert(_bindings), values)


def unbind(connection: Connection, secret: str, agent: str) -> int:
    """Undo a binding; return how many there were."""
    wanted = (_bindings.c.secret == secret) & (_bindings.c.agent == agent)
    return connection.execute(delete(_bindings).where(wanted)).rowcount


def unbind_all(connection: Connection, agent: str) -> int:
    """Undo every binding of an agent; return how many there were."""
    return connection.execute(delete(_bindings).where(_bindings.c.agent == agent)).rowcount


def add_lease(connection: Connection, lease: LeaseRow) -> None:
    """Store a lease."""
    connection.execute(insert(_leases), _values(lease))


def find_lease(connection: Connection, lease_id: str) -> LeaseRow | None:
    """Return a lease; None if there is none of that id."""
    row = connection.execute(select(_leases).where(_leases.c.id == lease_id)).one_or_none()
    return None if row is None else _lease(row)


def set_redeemed(connection: Connection, lease_id: str, now_ts: int) -> bool:
    """Use a lease up; return False if it was used up before."""
    wanted = (_leases.c.id == lease_id) & _leases.c.redeemed_ts.is_(None)
    done = connection.execute(update(_leases).where(wanted).values(redeemed_ts=now_ts))
    return done.rowcount == 1


def holders(connection: Connection, now_ts: int) -> list[str]:
    """Return the agents that may hold something, by the leases that have not expired."""
    wanted = _leases.c.redeemed_ts.is_not(None) & (_leases.c.expires_ts > now_ts)
    return list(connection.scalars(select(_leases.c.agent).where(wanted).distinct()))


def forget_leases(connection: Connection, before_ts: int) -> int:
    """Delete the leases that expired before then."""
    return connection.execute(delete(_leases).where(_leases.c.expires_ts < before_ts)).rowcount


def add_form(connection: Connection, form: FormRow) -> None:
    """Store a link; older ones for the same secret are no more."""
    connection.execute(delete(_forms).where(_forms.c.name == form.name))
    connection.execute(insert(_forms), {**_values(form), "critical": int(form.critical)})


def find_form(connection: Connection, token_hash: str) -> FormRow | None:
    """Return the link of a token; None if there is none."""
    row = connection.execute(select(_forms).where(_forms.c.token_hash == token_hash)).one_or_none()
    return None if row is None else _form(row)


def set_used(connection: Connection, token_hash: str, now_ts: int) -> bool:
    """Use a link up; return False if it was used up before."""
    wanted = (_forms.c.token_hash == token_hash) & _forms.c.used_ts.is_(None)
    done = connection.execute(update(_forms).where(wanted).values(used_ts=now_ts))
    return done.rowcount == 1


def forget_forms(connection: Connection, before_ts: int) -> int:
    """Delete the links that expired before then."""
    return connection.execute(delete(_forms).where(_forms.c.expires_ts < before_ts)).rowcount


def _secret(row: Row[tuple[object, ...]]) -> Secret:
    return Secret(
        row.name,
        row.type,
        row.version,
        bool(row.critical),
        row.author,
        row.created_ts,
        row.changed_ts,
        row.key_id,
    )


def _form(row: Row[tuple[object, ...]]) -> FormRow:
    return FormRow(
        row.token_hash,
        row.name,
        row.type,
        bool(row.critical),
        row.version,
        row.author,
        row.trace,
        row.expires_ts,
        row.used_ts,
        row.mac,
    )


def _lease(row: Row[tuple[object, ...]]) -> LeaseRow:
    return LeaseRow(
        row.id,
        row.agent,
        row.secret,
        row.version,
        row.token_hash,
        row.offered_until_ts,
        row.expires_ts,
        row.redeemed_ts,
    )


def _values(row: LeaseRow | FormRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def agents_of(found: Sequence[Binding], secret: str) -> tuple[str, ...]:
    """Return the agents that a secret is bound to."""
    return tuple(agent for bound, agent in found if bound == secret)
