"""Interface of a reconciler: three functions, and the changes that they exchange.

`observe` reads the actual state, `plan` lists its differences from the declared state and changes
nothing, `apply` makes one change. No file records that a reconciler has run: each run starts
from the actual state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from agency.errors import AgencyError
from agency.secrets import SecretValue

ABSENT = "absent"


class Settings(BaseModel):
    """Settings of a reconciler: JSON with camelCase keys; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference, and the change that removes it.

    `part` names the independent part of the state: when a change fails, the engine skips the later
    changes of the same part and goes on with other parts. `blocked` says why the reconciler cannot
    make the change, and `hint` what a person can do; the engine never applies a blocked change.
    None of the texts may hold a secret.
    """

    part: str
    what: str
    before: str
    after: str
    blocked: str | None = None
    hint: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Describe the change as `--json` prints it."""
        told = {"part": self.part, "what": self.what, "from": self.before, "to": self.after}
        if self.blocked is not None:
            told["blocked"] = self.blocked
        if self.hint is not None:
            told["hint"] = self.hint
        return told


Observed = TypeVar("Observed")
Planned = TypeVar("Planned", bound=Change)


class Reconciler(Protocol[Observed, Planned]):
    """Interface of a reconciler, which brings one part of the machine to its declared state."""

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return every secret value it holds, for redaction of all output about a run."""

    async def observe(self) -> Observed:
        """Read the actual state.

        Raises:
            AgencyError: it cannot be read; then nothing is planned.
        """

    def plan(self, observed: Observed) -> tuple[Planned, ...]:
        """List the differences, in the order of their changes. Reads and writes nothing."""

    async def apply(self, change: Planned) -> None:
        """Make one change.

        Raises:
            AgencyError: it could not be made. A later run starts from the state at that time.
        """


class ReconcileError(AgencyError):
    """The machine is not in its declared state, and could not be brought there."""
