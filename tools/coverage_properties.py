"""Coverage of the properties (`make coverage-properties`): lines and branches that they reach.

    python tools/coverage_properties.py [--json] [PYTEST ARGUMENT ...]

Runs every unit test of hypothesis, state machines and single properties, and no other, under
coverage.py; prints a line for each area. Lines that run at import count as reached, branches do
not: the second number is the sharper one. artifacts/properties.json has the numbers of each file.
Exit status 1: a property failed, and the numbers are those of the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "artifacts"
PACKAGE = "pyscripts/agency/"
SELECTED = "hypothesis and not thorough and not guest and not docker"
# The most special path of an area decides: approving is not counted again with operations.
AREAS: Mapping[str, str] = {
    "grammar": "control/grammar/",
    "policy": "control/policy/",
    "approvals": "control/operations/approving/",
    "operations": "control/operations/",
    "agents": "control/agents/",
    "vault": "control/vault/",
    "store": "control/store/",
    "entrance": "control/entrance/",
    "gosuto": "gosuto/",
    "gateway": "agent/gateway/",
    "proxy": "agent/proxy/",
    "models": "agent/models/",
    "tasks": "workspace/tasks/",
    "secrets": "secrets/",
    "transcript": "transcript/rules/",
    "reconcile": "reconcile/engine/",
}


@dataclass(frozen=True)
class Reached:
    """Lines and branches of an area, and how many of them ran."""

    area: str
    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def plus(self, summary: Mapping[str, int]) -> Reached:
        """Add the numbers of a file, as coverage.py writes them."""
        return Reached(
            self.area,
            self.lines + summary["num_statements"],
            self.lines_run + summary["covered_lines"],
            self.branches + summary.get("num_branches", 0),
            self.branches_run + summary.get("covered_branches", 0),
        )


def area_of(path: str) -> str | None:
    """Return the area of a file; None if properties are not meant to reach it."""
    inner = path.replace("\\", "/").removeprefix(PACKAGE)
    fitting = [(len(place), name) for name, place in AREAS.items() if inner.startswith(place)]
    return max(fitting)[1] if fitting else None


def areas(report: Mapping[str, Any]) -> list[Reached]:
    """Sum the files of a report by their areas, in the order of the areas."""
    found = {name: Reached(name) for name in AREAS}
    for path, told in report["files"].items():
        name = area_of(path)
        if name is not None:
            found[name] = found[name].plus(told["summary"])
    return [each for each in found.values() if each.lines]


def table(rows: Iterable[Reached]) -> str:
    """Write the rows as a table, with their sum."""
    shown = [*rows]
    total = Reached(
        "all",
        sum(each.lines for each in shown),
        sum(each.lines_run for each in shown),
        sum(each.branches for each in shown),
        sum(each.branches_run for each in shown),
    )
    head = f"{'area':<12}{'lines':>7}{'reached':>9}{'branches':>10}{'reached':>9}"
    return "\n".join([head, *map(_row, [*shown, total])])


def _row(each: Reached) -> str:
    lines, branches = _share(each.lines_run, each.lines), _share(each.branches_run, each.branches)
    return f"{each.area:<12}{each.lines:>7}{lines:>9}{each.branches:>10}{branches:>9}"


def _share(run: int, number: int) -> str:
    return f"{run / number:.1%}" if number else "-"


def coverage(*arguments: str) -> int:
    """Run coverage.py; return its exit status."""
    argv = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the properties and print the table."""
    parser = argparse.ArgumentParser(description="Coverage of the properties.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    given, tests = parser.parse_known_args(arguments)
    PLACE.mkdir(exist_ok=True)
    data, file = f"--data-file={PLACE / 'properties.coverage'}", PLACE / "properties.json"
    status = coverage(
        *("run", data, "--branch", f"--source={PACKAGE}", "-m", "pytest", "-q"),
        # hypothesis' own profile for CI: no deadline, and the same examples each time.
        *("--hypothesis-profile=ci", "-p", "no:cacheprovider", "-m", SELECTED),
        *(tests or ["tests/unit"]),
    )
    if status not in (0, 1) or coverage("json", "-q", data, "-o", str(file)):
        click.echo("the properties did not run, so there are no numbers", err=True)
        return 2
    rows = areas(json.loads(file.read_text()))
    click.echo(json.dumps([each.__dict__ for each in rows]) if given.json else table(rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
