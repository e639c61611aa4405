"""Programs that the agents' users run, by the names that the kernel has of them.

A program can give itself another name: this finds what was started, not who hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from agency.settings import Strict
from agency.terminal import plain

_NAME_BYTES = 15  # the kernel keeps no more of a name
_PROC = Path("/proc")


class Programs(Strict):
    """Usual programs, where `*` is any text, and agents that may run any. None: nobody looks."""

    usual: tuple[str, ...] = ()
    free: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """One process: its number, its real user, and the kernel's name of its program."""

    pid: int
    uid: int
    name: str


def running(proc: Path = _PROC) -> Iterator[Running]:
    """Look at every process; one that ends meanwhile is left out."""
    for entry in proc.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            status = (entry / "status").read_text(errors="replace")
        except OSError:
            continue
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if "Name" in facts and "Uid" in facts:
            yield Running(int(entry.name), int(facts["Uid"].split()[0]), facts["Name"])


def is_usual(name: str, usual: Iterable[str]) -> bool:
    """Tell if a program's name is one of `usual`, which may hold `*`, or a wrapper's of Nix."""
    return any(
        fnmatchcase(name, pattern[:_NAME_BYTES])
        or fnmatchcase(name, f".{pattern}-wrapped"[:_NAME_BYTES])
        for pattern in usual
    )


def unusual(
    processes: Iterable[Running], agent_of: Callable[[int], str | None], usual: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Name the programs of each agent that are not usual, sorted, fit to be shown."""
    patterns = tuple(usual)
    found: dict[str, set[str]] = {}
    for one in processes:
        agent = agent_of(one.uid)
        if agent is not None and not is_usual(one.name, patterns):
            found.setdefault(agent, set()).add(plain(one.name))
    return {agent: tuple(sorted(names)) for agent, names in sorted(found.items())}
