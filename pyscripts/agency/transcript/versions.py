"""The versions of the rules. A transcript names its own by its predicate type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from agency import __version__
from agency.errors import BadInputError
from agency.transcript.rules import v1, v2
from agency.transcript.rules.v1 import judge as judge_v1
from agency.transcript.rules.v1 import model as model_v1
from agency.transcript.rules.v1 import subjects as subjects_v1
from agency.transcript.rules.v2 import judge as judge_v2
from agency.transcript.rules.v2 import model as model_v2
from agency.transcript.rules.v2 import subjects as subjects_v2

Statement = model_v1.Statement | model_v2.Statement
Predicate = model_v1.Predicate | model_v2.Predicate

_TYPE = re.compile(r"urn:agency:spinup-transcript:v(?P<number>0|[1-9][0-9]{0,8})\Z")


class UnknownVersionError(BadInputError):
    """A transcript names rules that this agency does not have."""


class Verdict(Protocol):
    """Whether something holds, and if not, the reason."""

    @property
    def ok(self) -> bool:
        """Whether it holds."""

    @property
    def reason(self) -> str:
        """The field that does not hold; empty when `ok`."""


class Rule(Protocol):
    """The rule of one probe."""

    @property
    def name(self) -> str:
        """The probe's name."""

    @property
    def description(self) -> str:
        """What the probe proves."""

    @property
    def targets(self) -> frozenset[Any]:
        """The targets whose transcripts must have it."""


class Judge(Protocol):
    """The module `judge` of a version. A predicate is that version's own."""

    @property
    def PROBES(self) -> Mapping[str, Rule]:  # noqa: N802 - a module's constant
        """The rules by the names of their probes."""

    @property
    def GATES(self) -> Mapping[str, tuple[str, ...]]:  # noqa: N802 - a module's constant
        """The probes that each gate needs."""

    def overall(self, predicate: Any) -> tuple[str, tuple[str, ...]]:
        """Return the result that the facts allow, and what speaks against PASSED."""

    def completeness(self, predicate: Any) -> Iterator[str]:
        """Yield what should be there and is not."""

    def claims(self, predicate: Any) -> Iterator[str]:
        """Yield what the transcript says of its facts and they do not show."""

    def shortcomings(self, predicate: Any) -> Iterator[str]:
        """Yield what is there and does not hold."""

    def probe(self, predicate: Any, name: str) -> Verdict:
        """Judge one probe."""

    def gate(self, predicate: Any, name: str) -> Verdict:
        """Judge one gate."""

    def read_only(self, predicate: Any) -> bool:
        """Return whether the run only looked."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the rules. A draft's rules may still change; released ones never do."""

    name: str
    predicate_type: str
    draft: bool
    package: str
    statement: type[model_v1.Statement] | type[model_v2.Statement]
    judge: Judge
    broken_subjects: Callable[[Any], Iterator[str]]

    def __str__(self) -> str:
        return f"{self.name} (draft)" if self.draft else self.name

    def schema_text(self) -> str:
        """Return the published JSON Schema of the version's Statement."""
        return (resources.files(self.package) / "schema.json").read_text()


V1 = Version(
    "v1",
    model_v1.PREDICATE_TYPE,
    draft=False,
    package=v1.__name__,
    statement=model_v1.Statement,
    judge=judge_v1,
    broken_subjects=subjects_v1.broken_subjects,
)
V2 = Version(
    "v2",
    model_v2.PREDICATE_TYPE,
    draft=True,
    package=v2.__name__,
    statement=model_v2.Statement,
    judge=judge_v2,
    broken_subjects=subjects_v2.broken_subjects,
)
CURRENT = V2  # by which spin-ups write
VERSIONS: Mapping[str, Version] = {version.predicate_type: version for version in (V1, V2)}


def version_of(predicate_type: object) -> Version:
    """Return the rules that a predicate type names.

    Raises:
        UnknownVersionError: they are newer than this agency, or were never released; the message
            says which of the two, the hint what to install.
    """
    if isinstance(predicate_type, str) and predicate_type in VERSIONS:
        return VERSIONS[predicate_type]
    found = _TYPE.match(predicate_type) if isinstance(predicate_type, str) else None
    if found is None:
        raise UnknownVersionError("not the predicate type of a spin-up's transcript")
    name = f"v{found['number']}"
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
