"""Assertions that an enrolment proposes, by stage, and the suites that hold them. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from agency.recipes.enrol.findings import Findings
from agency.recipes.stages.all import CHANGE, INSTALL, KEEP, WRITE


@dataclass(frozen=True, slots=True)
class Proposal:
    """One assertion, or the reason why a stage will show nothing (`suite` is empty then).

    `fill_in` says that a person must add what only they can know; the test fails until then.
    """

    stage: str
    suite: str
    assertion: str
    fill_in: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Describe it for `--json`."""
        return asdict(self)


def propose(found: Findings) -> tuple[Proposal, ...]:
    """Propose the assertions for a recipe."""
    return (*_install(found), *_upgrade(found), *_backup(found))


def suites(found: Findings) -> tuple[str, ...]:
    """Return the suites that the recipe's stages need."""
    named = dict.fromkeys(one.suite for one in propose(found) if one.suite.startswith("test_"))
    return tuple(name.removeprefix("test_").removesuffix(".py") for name in named)


def _file(suite: str) -> str:
    return f"test_{suite}.py"


def _install(found: Findings) -> list[Proposal]:
    path = found.health_path
    proposals = [
        Proposal("install", "readiness.yaml", f"GET {path} is answered with 200, twice in a row")
    ]
    own = "the front page has text that only this app's has"
    proposals.append(Proposal("install", _file(INSTALL), own, fill_in=True))
    if found.secrets:
        refused = "what needs a log-in is refused without one"
        proposals.append(Proposal("install", _file(INSTALL), refused, fill_in=True))
    return proposals


def _upgrade(found: Findings) -> list[Proposal]:
    if not found.volumes:
        return [Proposal("upgrade", "", "skipped: the recipe has no volume, so no data to keep")]
    if not found.versions:
        later = "skipped until a version is published (a tag such as 1.0.0+2.3)"
        proposals = [Proposal("upgrade", "", later)]
    else:
        proposals = []
    return [
        *proposals,
        Proposal("upgrade", _file(WRITE), "data are written before the upgrade", fill_in=True),
        Proposal("upgrade", _file(KEEP), "the same data are there after it", fill_in=True),
    ]


def _backup(found: Findings) -> list[Proposal]:
    if not found.backed_up:
        none = "skipped: no service has the label backupbot.backup=true"
        return [Proposal("backup", "", none)]
    if not found.volumes:
        return [Proposal("backup", "", "skipped: the recipe has no volume, so no data to back up")]
    return [
        Proposal("backup", _file(WRITE), "data are written before the backup", fill_in=True),
        Proposal("backup", _file(CHANGE), "the data are changed or removed", fill_in=True),
        Proposal("backup", _file(KEEP), "after the restore they are as they were", fill_in=True),
    ]
