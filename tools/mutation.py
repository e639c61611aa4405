"""Mutation testing (`make mutation`): the share of mutants of a set of modules that its tests kill.

    python tools/mutation.py [SET ...]            every mutant of the sets in tools/mutation.toml
    python tools/mutation.py --minutes 15 --seed 1   a sample of them, drawn by the seed

mutmut changes one thing in a function at a time, and runs the tests that reach that function. It
works in a copy below artifacts/, since it wants the sources in `src/`, and a `pyproject.toml`:

    pyscripts/agency ─▶ artifacts/mutation/SET/src/agency ─▶ mutants/ ─▶ *.meta: an exit status each

A mutant that no test reaches counts as one that survived. The survivors are listed in
artifacts/mutation/SET.txt with their differences. Exit status 1: a score is below its least.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
SETS = ROOT / "tools" / "mutation.toml"
PLACE = ROOT / "artifacts" / "mutation"
NO_MUTANT = "no.such.mutant"  # a pattern that names none: mutants and times of tests are made only
WAIT_S = 6 * 3600
# Exit statuses that mutmut keeps for each mutant; others say that a test failed or hung.
SURVIVED = frozenset({0, 5, 33})
UNCHECKED = frozenset({None, 2, 34})
FIRST = 30  # mutants of a sample that are run first, to learn how long they take
HUNG_S = 60
_BESIDE = ("tools", "docs")  # that tests read
_SHOWN = 60  # survivors whose difference is listed


@dataclass(frozen=True)
class MutationSet:
    """Modules to mutate, the tests that must notice, and the least share that they must kill."""

    name: str
    least: float
    mutate: tuple[str, ...]
    tests: tuple[str, ...]
    leave: tuple[str, ...] = ()
    without: str = ""  # tests about time, as a pattern of pytest: slow, and not about what they do


@dataclass(frozen=True)
class Score:
    """Result of a set: how many mutants were run, of how many, and those that survived."""

    total: int
    run: int
    survivors: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of killed mutants; none run is no score."""
        return 0.0 if not self.run else 1 - len(self.survivors) / self.run


def read_sets(text: str) -> dict[str, MutationSet]:
    """Read the sets from the text of tools/mutation.toml."""
    return {
        name: MutationSet(
            name,
            float(each["least"]),
            tuple(each["mutate"]),
            tuple(each["tests"]),
            tuple(each.get("leave", ())),
            str(each.get("without", "")),
        )
        for name, each in tomllib.loads(text).items()
    }


def configuration(chosen: MutationSet, project: Mapping[str, Any]) -> str:
    """Return the pyproject.toml of the copy: mutmut's settings, and pytest's from the project."""
    pytest = project["tool"]["pytest"]["ini_options"]
    without = ["-k", f"not ({chosen.without})"] if chosen.without else []
    mutmut = {
        "source_paths": ["src/"],
        "only_mutate": [f"src/{each}" for each in chosen.mutate],
        "do_not_mutate": [f"src/{each}" for each in chosen.leave],
        # Words of the log are for people, and no test asks for them.
        "do_not_mutate_patterns": [r"_log\.\w+"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", *without],
        "pytest_add_cli_args_test_selection": list(chosen.tests),
        "also_copy": list(_BESIDE),
        "use_git_change_detection": False,
        "track_dependencies": False,
    }
    kept = {
        "pythonpath": ["tests/support", "tools", "."],
        **{key: pytest[key] for key in ("addopts", "asyncio_mode", "markers")},
        "timeout": HUNG_S,  # of one test: a mutant often waits for what never comes
        "asyncio_default_fixture_loop_scope": pytest["asyncio_default_fixture_loop_scope"],
    }
    return "".join([*_table("tool.mutmut", mutmut), *_table("tool.pytest.ini_options", kept)])


def _table(name: str, values: Mapping[str, object]) -> Iterator[str]:
    yield f"[{name}]\n"
    for key, value in values.items():
        yield f"{key} = {json.dumps(value)}\n"  # JSON of texts, numbers, lists is TOML


def is_here(chosen: MutationSet) -> bool:
    """Return whether the modules of a set are there; say so if they are not."""
    here = any(any((ROOT / "pyscripts").glob(each)) for each in chosen.mutate)
    if not here:
        click.echo(f"{chosen.name}: left out, its modules are not there")
    return here


def prepare(chosen: MutationSet) -> Path:
    """Make the copy in which mutmut works, anew."""
    place = PLACE / chosen.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "pyscripts" / "agency", place / "src" / "agency", ignore=ignore)
    for part in ("tests/support", "tests/unit", *_BESIDE):
        shutil.copytree(ROOT / part, place / part, ignore=ignore)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (place / "pyproject.toml").write_text(configuration(chosen, project))
    return place


def mutmut(place: Path, *arguments: str, loud: bool = True) -> int:
    """Run mutmut in a copy; return its exit status. If it is not `loud`, a log has what it says."""
    argv = [sys.executable, "-m", "mutmut", *arguments]
    with place.with_suffix(".log").open("ab") as log:
        sink = None if loud else log
        return subprocess.run(
            argv, cwd=place, stdout=sink, stderr=sink, check=False, timeout=WAIT_S
        ).returncode


def statuses(place: Path) -> dict[str, int | None]:
    """Return what mutmut keeps of each mutant: the exit status of its tests, None if not run."""
    found: dict[str, int | None] = {}
    for file in sorted((place / "mutants" / "src").rglob("*.meta")):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


def score(found: Mapping[str, int | None]) -> Score:
    """Count what was killed."""
    run = {name: status for name, status in found.items() if status not in UNCHECKED}
    survivors = sorted(name for name, status in run.items() if status in SURVIVED)
    return Score(len(found), len(run), tuple(survivors))


def drawn(names: Iterable[str], seed: int) -> list[str]:
    """Return the mutants in the order that a seed draws."""
    order = sorted(names)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, no secret
    return order


def next_number(run: int, took_s: float, left_s: float) -> int:
    """Return how many mutants fit into the time that is left, with some time to spare."""
    if run == 0:
        return FIRST
    number = int(run / took_s * left_s * 0.8)
    return number if number >= FIRST / 2 else 0


def test_set(chosen: MutationSet, minutes: float | None, seed: int, children: int) -> Score:
    """Run the mutants of a set: all of them, or as many as fit into so many minutes."""
    begun = time.monotonic()
    place = prepare(chosen)
    least = ("run", "--max-children", str(children))
    if minutes is None:
        mutmut(place, *least)
        return score(statuses(place))
    mutmut(place, *least, NO_MUTANT, loud=False)
    order, until = drawn(statuses(place), seed), begun + minutes * 60
    ready, done = time.monotonic(), 0
    while done < len(order):
        now = time.monotonic()
        number = next_number(done, now - ready, until - now)
        if not number:
            break
        mutmut(place, *least, *order[done : done + number], loud=False)
        done += number
    return score(statuses(place))


def report(chosen: MutationSet, found: Score) -> str:
    """Write the list of survivors; return the line about the score."""
    by_module = Counter(name.rpartition(".")[0] for name in found.survivors)
    lines = [f"{count:5} {module}" for module, count in by_module.most_common()]
    place = PLACE / chosen.name
    for name in found.survivors[:_SHOWN]:
        shown = subprocess.run(
            [sys.executable, "-m", "mutmut", "show", name],
            cwd=place, capture_output=True, text=True, check=False, timeout=60,
        ).stdout  # fmt: skip
        lines += ["", f"# {name}", *shown.splitlines()]
    lines += ["", *(f"survived: {name}" for name in found.survivors[_SHOWN:])]
    list_file = PLACE / f"{chosen.name}.txt"
    list_file.write_text("\n".join(lines) + "\n")
    word = "" if found.share >= chosen.least else " MISSED"
    word = " NOTHING RUN" if not found.run else word
    return (
        f"{chosen.name}: {found.share:.3f} of {found.run} mutants killed (least {chosen.least}), "
        f"{found.total - found.run} not run, {len(found.survivors)} survived: "
        f"{list_file.relative_to(ROOT)}{word}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sets that are named, or all; print a line for each."""
    sets = read_sets(SETS.read_text())
    parser = argparse.ArgumentParser(description="Mutation testing.")
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(sets))
    parser.add_argument("--minutes", type=float, help="all sets together; default: no limit")
    parser.add_argument("--seed", type=int, default=1, help="draws the sample (default 1)")
    parser.add_argument("--children", type=int, default=2, help="mutants at a time (default 2)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.sets if name not in sets]
    if unknown:
        parser.error(f"no set {unknown[0]}; there are: {', '.join(sets)}")
    chosen = [sets[name] for name in (given.sets or sets) if is_here(sets[name])]
    each_minutes = None if given.minutes is None else given.minutes / len(chosen)
    bad = False
    for one in chosen:
        found = test_set(one, each_minutes, given.seed, given.children)
        click.echo(report(one, found))
        bad |= found.share < one.least
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
