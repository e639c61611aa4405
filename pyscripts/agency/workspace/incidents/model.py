"""Model of ISSUES.yaml and of a shared incident."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agency.workspace.fields import Name, Text
from agency.yaml_source import Loc

MOST_ISSUES = 200

Status = Literal["open", "mitigated", "resolved"]
Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")


class Issue(BaseModel):
    """One incident."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name = Field(description="its name, by which it is known")
    description: Text = Field(description="what went wrong")
    discovered_during: Text = Field(description="the task or work at which it was seen")
    status: Status = Field(default="open", description="whether it still hinders")
    severity: Severity = Field(description="how much; `critical` is told in the control room")
    workaround: Text | None = Field(default=None, description="how to work in spite of it")
    fix: Text | None = Field(default=None, description="what mended it")


class Issues(BaseModel):
    """ISSUES.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    issues: list[Issue] = Field(max_length=MOST_ISSUES, description="the incidents")


class Shared(Issue):
    """An incident in the shared record."""

    agent: Name


EXAMPLES = {
    "issues": "issues: []",
    "name": "name: registry-is-slow",
    "description": "description: The registry answers after a minute.",
    "discovered_during": "discovered_during: task build-app",
    "severity": "severity: medium",
}


def issue_rules(sheet: Issues) -> Iterator[tuple[Loc, str]]:
    """List the faults between fields: names twice, a resolved incident without its fix."""
    names = [issue.name for issue in sheet.issues]
    for index, issue in enumerate(sheet.issues):
        if issue.name in names[:index]:
            yield ("issues", index, "name"), f"{issue.name!r} is here twice; names are unique"
        if issue.status == "mitigated" and issue.workaround is None:
            yield ("issues", index, "status"), "is mitigated; add the workaround"
        if issue.status == "resolved" and issue.fix is None:
            yield ("issues", index, "status"), "is resolved; add the fix"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ISSUES.yaml."""
    return Issues.model_json_schema()
