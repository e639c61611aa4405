"""Evidence of activations: files and units, as the definitions have them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency.canonical import canonical_json, sha256_hex
from agency.transcript.rules.v2.rule import (
    All,
    Count,
    No,
    Seen,
    Sha256,
    Shape,
    Some,
    Yes,
    Zero,
    matches,
)
from agency.transcript.rules.v2.services import (
    ALWAYS_ENDING,
    ALWAYS_RUNNING,
    CONTROL_UNIT,
    HOMESERVER_UNIT,
)

UnitName = Annotated[
    str, matches(r"[A-Za-z0-9:_.@-]+\.(?:service|socket|timer|target)", "the name of a unit")
]
Invocation = Annotated[str, matches(r"[0-9a-f]{32}", "an invocation id")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
StorePath = Annotated[
    Seen, matches(r"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+", "a path of Nix's store")
]
NarHash = Annotated[str, matches(r"sha256:[0-9a-z]{52}", "the hash of a NAR")]

MAX_RESTARTS = 5  # as often as systemd starts what ends at once before it gives up
DRIFTS = ("file", "unit", "firewall")
_UNITS, _OWN, _CONTROL_FILE = "etc/systemd/system", "agency-", "etc/agency/control.json"


class ExpectedUnits(Shape):
    """The units that the definitions start, by their source: what stays, and what ends."""

    running: Some[UnitName]
    ending: All[UnitName]

    @model_validator(mode="after")
    def _what_every_machine_has(self) -> Self:
        missing = [name for name in ALWAYS_RUNNING if name not in self.running]
        if missing:
            raise ValueError(f"running: lacks {', '.join(missing)}")
        missing = [name for name in ALWAYS_ENDING if name not in self.ending]
        if missing:
            raise ValueError(f"ending: lacks {', '.join(missing)}")
        return self


class Activation(Shape):
    """Files after an activation, beside what the definitions ask for.

    `digests` are of files as they are on the machine; `defined` is the digest of all digests as
    the definitions have them. Of NixOS its whole system says what is laid down.
    """

    expected: ExpectedUnits
    digests: Annotated[dict[str, Sha256], Field(min_length=1)]
    defined: Sha256 | None = None
    seconds: Positive
    system: StorePath | None = None
    system_digest: NarHash | None = None

    @model_validator(mode="after")
    def _every_definition(self) -> Self:
        units = (*self.expected.running, *self.expected.ending)
        own = (f"{_UNITS}/{name}" for name in units if name.startswith(_OWN))
        missing = [path for path in (_CONTROL_FILE, *own) if path not in self.digests]
        if missing:
            raise ValueError(f"digests: lacks {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _as_defined(self) -> Self:
        if self.system is None and self.defined is None:
            raise ValueError("defined: is not there")
        if self.defined not in (None, sha256_hex(canonical_json(self.digests))):
            raise ValueError("digests: not those of the definitions (defined)")
        return self


class ActivatedUnit(Shape):
    """A unit after the activation; units that run and end may be inactive."""

    name: UnitName
    active: Literal["active", "inactive"]
    sub: Seen


class FirstActivation(Activation):
    """A blank machine brought to the definitions; on NixOS by a switch to its whole system."""

    changed: Yes
    units: Some[ActivatedUnit]

    @model_validator(mode="after")
    def _everything_runs(self) -> Self:
        active = {unit.name for unit in self.units if unit.active == "active"}
        missing = [name for name in self.expected.running if name not in active]
        if missing:
            raise ValueError(f"units: not active: {', '.join(missing)}")
        return self


class SecondActivation(Activation):
    """The same again, which must change nothing: no file, and no unit started anew."""

    changed: No
    changes: Annotated[tuple[object, ...], Field(strict=False, max_length=0)]
    invocations_before: Annotated[dict[UnitName, Invocation], Field(min_length=1)]
    invocations_after: Annotated[dict[UnitName, Invocation], Field(min_length=1)]

    @model_validator(mode="after")
    def _nothing_restarted(self) -> Self:
        missing = [name for name in self.expected.running if name not in self.invocations_before]
        if missing:
            raise ValueError(f"invocationsBefore: lacks {', '.join(missing)}")
        if self.invocations_before != self.invocations_after:
            raise ValueError("invocationsAfter: a unit was started anew")
        return self


class Drift(Shape):
    """One thing that was changed by hand: how it was, how it was made, how it is after healing."""

    what: Seen
    before: Seen
    planted: Seen
    after: Seen

    @model_validator(mode="after")
    def _healed(self) -> Self:
        if self.planted == self.before:
            raise ValueError("planted: nothing was changed")
        if self.after != self.before:
            raise ValueError("after: it is not as it was")
        return self


class DriftHealed(Shape):
    """Drift that a check names and an activation heals."""

    planted: Some[Drift]
    found_by_check: Count
    left_after: Zero

    @model_validator(mode="after")
    def _of_each_kind(self) -> Self:
        kinds = {drift.what.partition(" ")[0] for drift in self.planted}
        missing = [kind for kind in DRIFTS if kind not in kinds]
        if missing:
            raise ValueError(f"planted.what: nobody changed a {', a '.join(missing)}")
        if len({drift.what for drift in self.planted}) != len(self.planted):
            raise ValueError("planted.what: one comes twice")
        if self.found_by_check < len(self.planted):
            raise ValueError("foundByCheck: less than what was planted")
        return self


class ShownUnit(Shape):
    """A unit that runs, as systemd shows it. On a host it may have run for a year."""

    name: UnitName
    load: Literal["loaded"]
    active: Literal["active"]
    sub: Seen
    restarts: Annotated[int, Field(ge=0)]


class RunningUnit(ShownUnit):
    """A unit that runs on a machine that was started a moment ago."""

    restarts: Annotated[int, Field(ge=0, le=MAX_RESTARTS)]


class UnitsState(Shape):
    """Every unit that the definitions start."""

    units: Some[ShownUnit]

    @model_validator(mode="after")
    def _an_agency(self) -> Self:
        shown = {unit.name for unit in self.units}
        missing = [name for name in (CONTROL_UNIT, HOMESERVER_UNIT) if name not in shown]
        if missing:
            raise ValueError(f"units.name: lacks {', '.join(missing)}")
        return self
