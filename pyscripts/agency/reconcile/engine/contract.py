"""What a reconciler is: three functions and the changes that pass between them.

`observe` reads the world, `plan` says what differs from what is wanted and does nothing, `apply`
makes one change. Nothing remembers that a reconciler has run: the world is the only state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from agency.errors import AgencyError
from agency.secrets.values import SecretValue

ABSENT = "absent"


class Settings(BaseModel):
    """What a reconciler is told: JSON with camelCase keys; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference, and what mends it.

    `part` names the independent piece of the world it belongs to: when a change fails, the later
    changes of the same part are left out and other parts go on. `blocked` says why it is not
    mended by us, and `hint` what a person can do; then `apply` is never called with it.
    None of the texts may hold a secret.
    """

    part: str
    what: str
    before: str
    after: str
    blocked: str | None = None
    hint: str | None = None

    def as_dict(self) -> dict[str, str]:
        """The change as `--json` prints it."""
        told = {"part": self.part, "what": self.what, "from": self.before, "to": self.after}
        if self.blocked is not None:
            told["blocked"] = self.blocked
        if self.hint is not None:
            told["hint"] = self.hint
        return told


Observed = TypeVar("Observed")
Planned = TypeVar("Planned", bound=Change)


class Reconciler(Protocol[Observed, Planned]):
    """One part of the machine that is brought to what is declared."""

    def secrets(self) -> tuple[SecretValue, ...]:
        """Every secret value it holds: removed from whatever is printed about a run."""

    async def observe(self) -> Observed:
        """What is.

        Raises:
            AgencyError: it cannot be seen; nothing is then planned.
        """

    def plan(self, observed: Observed) -> tuple[Planned, ...]:
        """What differs, in the order in which it can be mended. Reads and writes nothing."""

    async def apply(self, change: Planned) -> None:
        """Make one change.

        Raises:
            AgencyError: it could not be made. A later run begins again from what then is.
        """


class ReconcileError(AgencyError):
    """The world is not, and could not be made, what is declared."""
