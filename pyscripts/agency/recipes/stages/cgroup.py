"""Control group of one suite: a bound of its tasks and memory, and the way to end all of it.

A process can leave its session and drop its environment, not its control group. Where the kernel
has version 2, the group is made in the subtree that systemd delegated (`Delegate=yes`), where it
has version 1, below the own group of `pids`. Elsewhere there is none, and `make` returns None.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agency.errors import AgencyError

_END_S = 10.0
_POLL_S = 0.01
_DELEGATED = ("user.delegate", "trusted.delegate")  # systemd.resource-control(5)
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Limits:
    """Most tasks (processes and their threads) and memory of all of them together."""

    tasks: int = 512
    memory_bytes: int = 4 * 1024**3


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Mounted hierarchy, and the group that this process has there; `version` is 1 or 2."""

    version: int
    top: Path
    own: Path


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A made group: one directory a hierarchy, version 2 first."""

    directories: tuple[Path, ...]

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files to which a process writes its id to be in the group, with all its children."""
        return tuple(str(one / "cgroup.procs") for one in self.directories)

    def exceeded(self) -> str:
        """Say which limit the kernel held; empty if none."""
        for directory in self.directories:
            if _event(directory / "pids.events", "max"):
                limit = (directory / "pids.max").read_text().strip()
                return f"it wanted more than {limit} processes and threads"
            if _event(directory / "memory.events", "oom_kill"):
                limit = str(int((directory / "memory.max").read_text()) // 1024**2)
                return f"it wanted more than {limit} MiB of memory"
        return ""

    @property
    def holds_memory(self) -> bool:
        """True if the kernel holds the limit of memory."""
        return any((one / "memory.max").exists() for one in self.directories)

    def memory_bytes(self) -> int:
        """Sum the memory of its processes; what several share counts once."""
        return sum(map(_proportional_bytes, self._members()))

    def kill(self) -> None:
        """Kill what is in the group now."""
        for pid in self._members():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill all that is in the group, and remove it; return how many processes there were.

        Raises:
            AgencyError: the kernel does not end them.
        """
        for directory in self.directories:
            with suppress(OSError):  # nothing can fork from here on
                (directory / "pids.max").write_text("0")
        killed = len(self._members())
        deadline = time.monotonic() + _END_S
        while members := self._members():
            if time.monotonic() > deadline:
                raise AgencyError(
                    f"{len(members)} processes of a suite do not end",
                    where=str(self.directories[0]),
                    hint="they hang inside the kernel; look at /proc/<pid>/stack",
                )
            self.kill()
            time.sleep(_POLL_S)
        for directory in self.directories:
            _remove(directory)
        return killed

    def _members(self) -> set[int]:
        found: set[int] = set()
        for directory in self.directories:
            with suppress(FileNotFoundError):
                found |= {int(pid) for pid in (directory / "cgroup.procs").read_text().split()}
        return found


def _proportional_bytes(pid: int) -> int:
    """Read the proportional set size of a process, proc_pid_smaps(5); 0 if it ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines()[1:])
    return next((int(words[1]) * 1024 for words in lines if words[0] == "Pss:"), 0)


def make(name: str, limits: Limits, hierarchies: tuple[Hierarchy, ...]) -> Cgroup | None:
    """Make a group of that name in every hierarchy that lets this process; None if none does."""
    made = []
    for hierarchy in sorted(hierarchies, key=lambda one: -one.version):
        base = _base(hierarchy)
        if base is None:
            continue
        directory = base / name
        try:
            if hierarchy.version == 2:
                _enable(base)
            directory.mkdir()
        except OSError:
            continue
        made.append(directory)
        _limit(directory, "pids.max", limits.tasks)
        _limit(directory, "memory.max", within_parents(limits.memory_bytes, base, hierarchy.top))
        _limit(directory, "memory.swap.max", 0)
    return Cgroup(tuple(made)) if made else None


def within_parents(wish_bytes: int, base: Path, top: Path) -> int:
    """Return the wish, or three quarters of the least memory that a group above it has.

    The rest is for the runner. Where the limit of its whole unit is met first, the kernel may end
    the runner, and nobody says which suite it was.
    """
    found = []
    for place in (base, *base.parents):
        with suppress(OSError, ValueError):  # "max", or the root, which has no limit
            found.append(int((place / "memory.max").read_text()) * 3 // 4)
        if place == top:
            break
    return min((wish_bytes, *found))


def end_groups(beginning: str, hierarchies: tuple[Hierarchy, ...]) -> int:
    """End all groups whose names begin so, as a killed run left them; return their number."""
    found = [
        directory
        for hierarchy in hierarchies
        if (base := _base(hierarchy)) is not None
        for directory in base.glob(f"{beginning}*")
        if directory.is_dir()
    ]
    for directory in found:
        Cgroup((directory,)).end()
    return len(found)


def _base(hierarchy: Hierarchy) -> Path | None:
    """Return the group below which one may be made; None where another program manages them."""
    if hierarchy.version == 1 or hierarchy.own == hierarchy.top:
        return hierarchy.own
    for place in (hierarchy.own, *hierarchy.own.parents):
        if place == hierarchy.top:
            return None
        if any(_attribute(place, name) == b"1" for name in _DELEGATED):
            return place
    return None


def _attribute(place: Path, name: str) -> bytes:
    try:
        return os.getxattr(place, name)
    except OSError:
        return b""


def _enable(base: Path) -> None:
    """Let groups below have limits. It fails where processes are in the group itself."""
    for controller in ("pids", "memory"):
        with suppress(OSError):
            (base / "cgroup.subtree_control").write_text(f"+{controller}")


def _limit(directory: Path, name: str, value: int) -> None:
    with suppress(OSError):
        if (directory / name).exists():
            (directory / name).write_text(str(value))


def _event(path: Path, name: str) -> int:
    try:
        pairs = dict(line.split() for line in path.read_text().splitlines())
    except OSError:
        return 0
    return int(pairs.get(name, 0))


def _remove(directory: Path) -> None:
    deadline = time.monotonic() + _END_S
    while directory.is_dir():
        try:
            directory.rmdir()
        except OSError:  # the last process is gone, and the kernel has not noted it yet
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL_S)


def hierarchies(process: Path = Path("/proc/self")) -> tuple[Hierarchy, ...]:
    """List the hierarchies that can bound a suite: version 2, and `pids` of version 1."""
    groups = dict(_groups((process / "cgroup").read_text()))
    found = []
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        kind, _, options = after.split()[:3]
        controller = "" if kind == "cgroup2" else "pids" if "pids" in options.split(",") else None
        own = groups.get(controller) if controller is not None else None
        if kind not in ("cgroup", "cgroup2") or own is None:
            continue
        if Path(root) != _ROOT and root not in (own, *map(str, Path(own).parents)):
            continue  # it shows another part of the hierarchy than the one with this process
        within = Path(own).relative_to(root)
        found.append(Hierarchy(2 if kind == "cgroup2" else 1, Path(place), Path(place) / within))
    return tuple({one.version: one for one in found}.values())


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Read /proc/PID/cgroup: the own group by controller; that of version 2 has none."""
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, group
