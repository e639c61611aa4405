"""Child processes that never outlive their parent.

Three mechanisms; each catches what the one before it misses:

1. A child leads its own session and process group. When it ends, for whatever reason, what is
   left of its group is killed before the child itself is reaped, so its id cannot have been reused
   by then.
2. The kernel kills a child when its parent dies (PR_SET_PDEATHSIG, set by util-linux' setpriv
   between fork and exec). The kernel ties this to the *thread* that forked, not to the process:
   call `start_child` from a thread that lives as long as the parent should hold its children,
   such as the one that runs the event loop. The setting is lost when a program with set-uid bits
   or file capabilities is executed, and it reaches the child only, not the child's children.
3. Every child carries the marker of its run in its environment (`AGENCY_RUN`), by which a later
   run finds and ends what a killed one left: `processes_with_marker` and `kill_marked`. A child
   of a marked process carries its parent's markers too.

Linux 5.3 or newer (pidfd).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.clock import Clock, iso
from agency.errors import AgencyError, PrerequisiteError
from agency.programs import find_program

MARKER_VARIABLE = "AGENCY_RUN"

_MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SEPARATOR = "/"
_KILL_WAIT_S = 5.0  # how long the kernel may take to end a process after SIGKILL
_POLL_S = 0.01
_EXEC_POLL_S = 0.001
_EXEC_LOOKS = 200
_SYSTEM_CLOCK = Clock()


class ChildError(AgencyError):
    """Failure to start or to end a child process."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """Description of a child process to start.

    `env` is the child's whole environment but for PATH (the caller's), HOME (`cwd`) and
    LANG (C.UTF-8), which it may override, and the marker. `log_path` gets standard output and
    standard error, appended; it is made with mode 0600.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log_path: Path
    pass_fds: tuple[int, ...] = ()


class Child:
    """A started process. It is observed through a pidfd on the event loop that started it."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        pidfd: int,
        *,
        log_path: Path,
        log_start: int,
        started_at: float,
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.started_at = iso(started_at)
        self.log_path = log_path
        self._process = process
        self._pidfd = pidfd
        self._log_start = log_start
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._finish)

    def __repr__(self) -> str:
        return f"Child(name={self.name!r}, pid={self.pid}, exit_status={self._process.returncode})"

    @property
    def exit_status(self) -> int | None:
        """Exit status, or the negative number of the signal that ended it; None while it runs."""
        if not self._ended.is_set():
            poller = select.poll()  # not select(): that fails for descriptors above 1023
            poller.register(self._pidfd, select.POLLIN)
            if poller.poll(0):
                self._finish()
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit status; may be cancelled and called again."""
        await self._ended.wait()
        return self._process.returncode

    async def stop(self, timeout: float) -> int:  # noqa: ASYNC109 - the grace before SIGKILL
        """End it: SIGTERM, up to `timeout` seconds of grace, then SIGKILL to its whole group.

        When this returns, the process is reaped and nothing of its group runs; stopping an ended
        child returns its exit status.

        Raises:
            ChildError: the kernel did not end it, as happens to a process in a hung system call.
        """
        if self.exit_status is None:
            self._signal(signal.SIGTERM)
            if not await self._ends_within(timeout):
                self._kill_group()
                if not await self._ends_within(_KILL_WAIT_S):
                    raise ChildError(
                        "does not end, even after SIGKILL",
                        where=f"{self.name} (pid {self.pid})",
                        hint="it hangs inside the kernel; look at /proc/<pid>/stack and dmesg",
                    )
        await self._group_gone()
        return await self.wait()

    def log_tail(self, lines: int, max_bytes: int) -> tuple[str, ...]:
        """Read the last lines of this child (not of one before it), from at most `max_bytes`."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                start = max(self._log_start, end - max_bytes)
                log.seek(start)
                data = log.read(max_bytes)
        except FileNotFoundError:
            return ()
        if start > self._log_start:  # the first line is cut
            data = data.partition(b"\n")[2] or data
        return tuple(data.decode(errors="replace").splitlines()[-lines:])

    async def _ends_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return self.exit_status is not None
        return True

    async def _group_gone(self) -> None:
        deadline = self._loop.time() + _KILL_WAIT_S
        # The kernel has no event for the end of a group.
        while _group_runs(self.pid) and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _kill_group(self) -> None:
        # Never called after the leader was reaped: until then the group's id is surely ours.
        # PermissionError: all that is left of the group became another user's, not ours to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _finish(self) -> None:
        if self._ended.is_set():
            return
        self._kill_group()
        self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set()


async def start_child(spec: ChildSpec, *, marker: str, clock: Clock = _SYSTEM_CLOCK) -> Child:
    """Start a process that dies with this one; the module says how, and from which thread to call.

    Raises:
        PrerequisiteError: setpriv or the program is not installed, or the log cannot be written.
        ChildError: the kernel did not start it.
        ValueError: the marker is malformed.
    """
    setpriv = find_program("setpriv", hint="install util-linux")
    env = _environment(spec, marker)
    program = shutil.which(spec.argv[0], path=env["PATH"])
    if program is None:
        raise PrerequisiteError(
            f"the program {spec.argv[0]!r} does not exist or may not be executed",
            where=spec.name,
            hint="install it, or name it by its absolute path",
        )
    with _open_log(spec.log_path) as log:
        log_start = os.fstat(log).st_size
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - forks and execs in a few milliseconds
                [setpriv, "--pdeathsig", "KILL", "--", program, *spec.argv[1:]],
                env=env,
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=spec.pass_fds,
            )
        except OSError as error:
            raise ChildError(
                f"cannot start: {error.strerror or error}",
                where=spec.name,
                hint=f"check the working directory {spec.cwd} and the limits of this user",
            ) from error
    return Child(
        spec.name,
        process,
        _pidfd_of(process, spec.name),
        log_path=spec.log_path,
        log_start=log_start,
        started_at=clock.wall(),
    )


def marked_environment(marker: str) -> dict[str, str]:
    """Return the variable that marks a child of a run, with the markers that this process has."""
    outer = os.environ.get(MARKER_VARIABLE)
    markers = [*(outer.split(_SEPARATOR) if outer else ()), _checked(marker)]
    return {MARKER_VARIABLE: _SEPARATOR.join(dict.fromkeys(markers))}


def _environment(spec: ChildSpec, marker: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(spec.cwd),
        "LANG": "C.UTF-8",
        **spec.env,
        **marked_environment(marker),
    }


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot write the log: {error.strerror or error}",
            where=str(path),
            hint="check the permissions and the free space of that directory",
        ) from error
    try:
        os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)


def _pidfd_of(process: subprocess.Popen[bytes], name: str) -> int:
    try:
        return os.pidfd_open(process.pid)
    except OSError as error:
        process.kill()
        process.wait()
        raise ChildError(
            f"cannot watch it: {error.strerror or error}",
            where=name,
            hint="Linux 5.3 or newer is needed, and a free file descriptor",
        ) from error


def _group_runs(group: int) -> bool:
    """Return whether a process of that group runs; zombies do not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:  # the common case, without a look at every process
        return False
    except PermissionError:
        pass
    for pid in _pids():
        try:
            state, _, its_group = stat_fields(pid)[:3]  # state, ppid, pgrp
        except OSError:  # it ended meanwhile
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def _pids() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _checked(marker: str) -> str:
    if not _MARKER.match(marker):
        raise ValueError(f"a marker is 1 to 128 of A-Z a-z 0-9 . _ -, not {marker!r}")
    return marker


def processes_with_marker(marker: str) -> tuple[int, ...]:
    """List the pids of the running processes of that run, except this one.

    Zombies are not running, and processes whose environment may not be read are another user's.
    """
    _checked(marker)
    own = os.getpid()
    return tuple(pid for pid in _pids() if pid != own and _carries(pid, marker))


def _carries(pid: int, marker: str) -> bool:
    prefix = f"{MARKER_VARIABLE}=".encode()
    return any(
        marker in entry.removeprefix(prefix).decode(errors="replace").split(_SEPARATOR)
        for entry in _environment_of(pid).split(b"\0")
        if entry.startswith(prefix)
    )


def _environment_of(pid: int) -> bytes:
    """Read a process's environment; retry while it executes a program and shows none."""
    path = Path(f"/proc/{pid}/environ")
    try:
        for _ in range(_EXEC_LOOKS):
            environ = path.read_bytes()
            if environ:
                return environ
            if not _between_programs(pid):
                break
            time.sleep(_EXEC_POLL_S)
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or belongs to another user
        return b""


def stat_fields(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat from the state on: field 3 of proc(5) is the first here.

    Raises:
        OSError: there is no such process.
    """
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _between_programs(pid: int) -> bool:
    """Return whether execve has given the process memory but no environment yet."""
    fields = stat_fields(pid)
    vsize, env_end = int(fields[20]), int(fields[48])  # proc(5): fields 23 and 51
    return vsize > 0 and env_end == 0


def kill_marked(marker: str, timeout: float) -> tuple[int, ...]:
    """End every process of a run: SIGTERM, up to `timeout` seconds of grace, then SIGKILL.

    Blocks; from a coroutine call it through `asyncio.to_thread`. Returns the pids it signalled.
    A pidfd holds each process before its marker is read again, so a reused pid is never
    signalled.

    Raises:
        ChildError: some are still there.
    """
    asked: set[int] = set()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        left = processes_with_marker(marker)
        if not left:
            return tuple(sorted(asked))
        for pid in left:
            if pid not in asked and _signal_if_marked(pid, marker, signal.SIGTERM):
                asked.add(pid)
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _KILL_WAIT_S
    while left := processes_with_marker(marker):
        if time.monotonic() > deadline:
            raise ChildError(
                f"processes of a killed run do not end: {', '.join(map(str, left))}",
                where=marker,
                hint="find them with ps, and end them by hand",
            )
        asked.update(pid for pid in left if _signal_if_marked(pid, marker, signal.SIGKILL))
        time.sleep(_POLL_S)
    return tuple(sorted(asked))


def _signal_if_marked(pid: int, marker: str, number: signal.Signals) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _carries(pid, marker):
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
