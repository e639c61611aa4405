"""Versions of the rules. A transcript names its own by its predicate type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, resources
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from agency import __version__
from agency.errors import BadInputError

if TYPE_CHECKING:
    from agency.transcript.rules.v1 import judge as judge_v1
    from agency.transcript.rules.v1 import model as model_v1
    from agency.transcript.rules.v2 import judge as judge_v2
    from agency.transcript.rules.v2 import model as model_v2

Statement: TypeAlias = "model_v1.Statement | model_v2.Statement"
Predicate: TypeAlias = "model_v1.Predicate | model_v2.Predicate"

_PREFIX = "urn:agency:spinup-transcript:"
_NAME = re.compile(r"v(?P<number>0|[1-9][0-9]{0,8})\Z")


class UnknownVersionError(BadInputError):
    """A transcript names rules that this agency does not have."""


class Verdict(Protocol):
    """Outcome of judging one fact."""

    @property
    def ok(self) -> bool:
        """True when it holds."""

    @property
    def reason(self) -> str:
        """Field that does not hold; empty when `ok`."""


class Rule(Protocol):
    """Rule of one probe."""

    @property
    def name(self) -> str:
        """Name of the probe."""

    @property
    def description(self) -> str:
        """Text on what the probe proves."""

    @property
    def targets(self) -> frozenset[Any]:
        """Targets whose transcripts must have the probe."""

    @property
    def shape(self) -> Any:
        """Model of the evidence that it accepts."""

    def judge(self, evidence: Mapping[str, Any]) -> Any:
        """Judge what was seen: `ok`, and the `reason` where it does not hold."""


class Judge(Protocol):
    """Module `judge` of a version. A predicate is that version's own."""

    @property
    def PROBES(self) -> Mapping[str, Rule]:  # noqa: N802 - a module's constant
        """Rules by the names of their probes."""

    @property
    def GATES(self) -> Mapping[str, tuple[str, ...]]:  # noqa: N802 - a module's constant
        """Probes that each gate needs."""

    def overall(self, predicate: Any) -> tuple[str, tuple[str, ...]]:
        """Return the result that the facts allow, and the reasons against PASSED."""

    def completeness(self, predicate: Any) -> Iterator[str]:
        """Yield what is missing and should be there."""

    def claims(self, predicate: Any) -> Iterator[str]:
        """Yield claims of the transcript that its facts do not show."""

    def shortcomings(self, predicate: Any) -> Iterator[str]:
        """Yield facts that are there and do not hold."""

    def probe(self, predicate: Any, name: str) -> Verdict:
        """Judge one probe."""

    def gate(self, predicate: Any, name: str) -> Verdict:
        """Judge one gate."""

    def read_only(self, predicate: Any) -> bool:
        """Return whether the run was read-only."""


if TYPE_CHECKING:
    _JUDGES: tuple[Judge, ...] = (judge_v1, judge_v2)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the rules. A draft's rules may still change; released ones never do.

    Its modules are imported when first used: a spin-up needs those of one version.
    """

    name: str
    draft: bool
    canonical_envelope: bool = True  # the file can be written in one way only

    def __str__(self) -> str:
        return f"{self.name} (draft)" if self.draft else self.name

    @property
    def predicate_type(self) -> str:
        """Predicate type of the version's transcripts."""
        return _PREFIX + self.name

    @property
    def judge(self) -> Judge:
        """Module that judges a predicate."""
        return cast("Judge", self._module("judge"))

    @property
    def statement(self) -> type[model_v1.Statement] | type[model_v2.Statement]:
        """Model of the version's Statement."""
        model: type[model_v1.Statement] | type[model_v2.Statement]
        model = self._module("model").Statement
        return model

    def broken_subjects(self, statement: Statement) -> Iterator[str]:
        """Yield the subjects of a statement that its evidence does not show."""
        problems: Iterator[str] = self._module("subjects").broken_subjects(statement)
        return problems

    def schema_text(self) -> str:
        """Return the published JSON Schema of the version's Statement."""
        return (resources.files(f"agency.transcript.rules.{self.name}") / "schema.json").read_text()

    def _module(self, name: str) -> ModuleType:
        return import_module(f"agency.transcript.rules.{self.name}.{name}")


V1 = Version("v1", draft=False, canonical_envelope=False)
V2 = Version("v2", draft=True)
CURRENT = V2  # by which spin-ups write
VERSIONS: Mapping[str, Version] = {version.predicate_type: version for version in (V1, V2)}

_NOT_OURS = "not the predicate type of a spin-up's transcript"


def version_of(predicate_type: object) -> Version:
    """Return the rules that a predicate type names.

    Raises:
        UnknownVersionError: they are newer than this agency, or were never released; the message
            says which of the two, the hint what to install.
    """
    if not isinstance(predicate_type, str):
        raise UnknownVersionError(_NOT_OURS)
    if predicate_type in VERSIONS:
        return VERSIONS[predicate_type]
    name = predicate_type.removeprefix(_PREFIX)
    found = _NAME.match(name)
    if found is None or name == predicate_type:
        raise UnknownVersionError(_NOT_OURS)
    known = f"agency {__version__} knows {', '.join(str(known) for known in VERSIONS.values())}"
    if int(found["number"]) < int(CURRENT.name.removeprefix("v")):
        raise UnknownVersionError(
            f"its rules {name} were never released; {known}",
            hint="make it again with a released agency",
        )
    raise UnknownVersionError(
        f"its rules {name} are newer than this program: {known}",
        hint="install the agency that made it, or a newer one: pip install --upgrade agency",
    )
