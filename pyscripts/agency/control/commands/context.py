"""Context of a command's handler: services and invocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agency.errors import InternalError, PrerequisiteError
from agency.secrets import VAULT_MASTER_KEY

if TYPE_CHECKING:
    from agency.clock import Clock
    from agency.control.agents.staff import Staff
    from agency.control.asking.desk import AskDesk
    from agency.control.backups.desk import BackupDesk
    from agency.control.conditions import Conditions
    from agency.control.execution.lifecycle import Lifecycle
    from agency.control.execution.result import Invocation, Step
    from agency.control.gosuto.desk import GosutoDesk
    from agency.control.grammar.grammar import Grammar
    from agency.control.kept.settings import KeptSettings
    from agency.control.kept.tokens import TokenDesk
    from agency.control.operations.decisions import Decisions
    from agency.control.operations.safety import Safety
    from agency.control.vault.desk import SecretDesk
    from agency.store import Database


def _no_decisions() -> Decisions:
    """Refuse: for services without operations behind them."""
    raise InternalError("there are no operations to decide on")


def _no_safety() -> Safety:
    """Refuse: for services without operations behind them."""
    raise InternalError("there are no operations to hold back")


def _no_gosuto() -> GosutoDesk:
    """Refuse: for services without a desk for documents."""
    raise InternalError("there are no documents of agents")


def _no_vault() -> SecretDesk:
    """Refuse: for an agency without a vault."""
    raise PrerequisiteError(
        f"this agency has no vault: the control plane got no credential {VAULT_MASTER_KEY}",
        hint="make it with `agency secrets generate`, commit, and switch",
    )


def _no_tokens() -> TokenDesk:
    """Refuse: for services without an HTTP interface behind them."""
    raise InternalError("there are no tokens")


def _no_settings() -> KeptSettings:
    """Refuse: for services without settings behind them."""
    raise InternalError("there are no settings")


def _no_backups() -> BackupDesk:
    """Refuse: for services without a backup behind them."""
    raise InternalError("there are no backups")


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the control plane that handlers use."""

    clock: Clock
    database: Database
    lifecycle: Lifecycle
    grammar: Grammar
    conditions: Conditions
    decisions: Callable[[], Decisions] = _no_decisions
    safety: Callable[[], Safety] = _no_safety
    staff: Staff | None = None
    gosuto: Callable[[], GosutoDesk] = _no_gosuto
    secrets: Callable[[], SecretDesk] = _no_vault
    tokens: Callable[[], TokenDesk] = _no_tokens
    settings: Callable[[], KeptSettings] = _no_settings
    backups: Callable[[], BackupDesk] = _no_backups
    asking: AskDesk | None = None  # None: no agent asks anything
    instance: str = ""
    started_s: float = 0.0  # of the steady clock

    def employer(self) -> Staff:
        """Return what makes agents.

        Raises:
            InternalError: these services have none.
        """
        if self.staff is None:
            raise InternalError("there is no staff to employ agents")
        return self.staff


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one command: services, and who gave the command, where and when."""

    services: Services
    invocation: Invocation

    @property
    def step(self) -> Step:
        """The way to tell what the command is at."""
        return self.invocation.progress

    @property
    def trace(self) -> str:
        """The trace id of the command."""
        return self.invocation.trace
