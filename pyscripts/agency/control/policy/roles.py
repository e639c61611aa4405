"""Roles of people, and the role that a command asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """Role of a person; nobody holds one that no list gives them."""

    VIEWER = "viewer"  # may look
    OPERATOR = "operator"  # may change, too
    APPROVER = "approver"  # may decide on what others asked for, and look
    ADMIN = "admin"  # may everything that an operator may, and what is the agency's own


# The roles that may do what a role may.
_INCLUDED_IN: dict[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset(Role),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.ADMIN}),
    Role.APPROVER: frozenset({Role.APPROVER}),
    Role.ADMIN: frozenset({Role.ADMIN}),
}


def includes(role: Role, wanted: Role) -> bool:
    """Return whether who has only this role may do what another role may."""
    return role in _INCLUDED_IN[wanted]


class Ruled(Protocol):
    """The parts of a command's specification that the policy needs."""

    @property
    def name(self) -> str:
        """The command's name: `agents stop`."""

    @property
    def permission(self) -> str:
        """The permission that an actor must hold to send the command."""

    @property
    def changes(self) -> bool:
        """True if it changes something."""

    @property
    def role(self) -> str | None:
        """The role that it asks for, where that does not follow from `changes`."""

    @property
    def acts(self) -> bool:
        """True if it writes without being a change."""

    @property
    def approval(self) -> str | None:
        """The name of the rule that asks for another person's approval, if one does."""


def needed(command: Ruled) -> Role:
    """Return the role that a command asks for: a look a viewer's, a change an operator's."""
    if command.role is not None:
        return Role(command.role)
    return Role.OPERATOR if command.changes else Role.VIEWER


def reaches(role: Role, command: Ruled) -> bool:
    """Return whether a token that gives this role reaches a command: a viewer's only looks."""
    return includes(role, needed(command)) and not (command.acts and role is Role.VIEWER)


@dataclass(frozen=True, slots=True)
class People:
    """People by their roles, as full Matrix ids. Empty lists give nobody anything.

    An operator approves what others ask for, too.
    """

    operators: frozenset[str] = frozenset()
    approvers: frozenset[str] = frozenset()
    viewers: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    everybody: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        everybody = self.operators | self.approvers | self.viewers | self.admins
        object.__setattr__(self, "everybody", everybody)

    @property
    def deciding(self) -> frozenset[str]:
        """Those who may approve what another person asked for."""
        return self.operators | self.approvers

    def roles(self, person: str) -> frozenset[Role]:
        """Return the roles of a person; none for anybody unknown."""
        lists: Iterable[tuple[Role, frozenset[str]]] = (
            (Role.VIEWER, self.viewers),
            (Role.OPERATOR, self.operators),
            (Role.APPROVER, self.deciding),
            (Role.ADMIN, self.admins),
        )
        return frozenset(role for role, who in lists if person in who)

    def may(self, person: str, role: Role, limit: Role | None = None) -> bool:
        """Return whether a person may do what a role may; `limit` is the most their token gives."""
        within = limit is None or includes(limit, role)
        return within and bool(self.roles(person) & _INCLUDED_IN[role])
