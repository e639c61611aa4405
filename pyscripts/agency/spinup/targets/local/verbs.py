"""Verbs `agency up`, `down` and `status`, done from outside the supervisor.

up ── lock ──▶ `agency up --foreground`, in a session of its own, which inherits the lock
down ── SIGTERM ──▶ supervisor ── lets the lock go ──▶ down removes, or keeps
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agency.errors import AgencyError, PrerequisiteError, UsageError
from agency.protocols import READY_PATH, ReadyReport, as_report
from agency.spinup.targets.local import place
from agency.spinup.targets.local.place import LocalAgencyError, LocalState, Lock, ServiceState
from agency.spinup.targets.local.ports import CONTROL

_UP_TIMEOUT_S = 120.0
_DOWN_TIMEOUT_S = 40.0
_POLL_S = 0.05
_ASK_S = 15.0  # above the time in which the control plane gives its homeserver up
_HOPELESS = 3  # failures of one service in a row, after which `up` tells and returns
_SAID = 2000
_KINDS: Mapping[int, type[AgencyError]] = {2: UsageError, 3: PrerequisiteError}
_GO_ON = "it keeps trying; see `agency status`, and `agency down` to stop it"


@dataclass(frozen=True, slots=True)
class Status:
    """State of the local agency as it is seen now.

    `reasons` say why it is not ready, `warnings` what else is wrong; `kept` is the directory of
    one that does not run.
    """

    running: bool
    ready: bool
    state: LocalState | None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    kept: Path | None = None


def start_detached(instance: Path, age_key: Path | None, pinned: Mapping[str, int]) -> None:
    """Start the local agency, unless it runs already, and wait until it is ready.

    Raises:
        LocalAgencyError: it does not come up; its data and its logs are kept.
    """
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while True:
        lock = place.take_lock()
        if lock is not None:
            _start(lock, instance, age_key, pinned, deadline)
            return
        if _wait_until_up(deadline, None):
            return  # another `up` made it


def _start(
    lock: Lock, instance: Path, age_key: Path | None, pinned: Mapping[str, int], deadline: float
) -> None:
    argv = [sys.executable, "-m", "agency", "up", "--foreground", "--instance", str(instance)]
    argv += ["--age-key", str(age_key)] if age_key else []
    argv += [f"--port={name}={port}" for name, port in pinned.items()]
    argv += [f"--lock-fd={lock.descriptor}"]
    log = place.base_dir() / "up.log"
    try:
        with log.open("wb") as sink:
            process = subprocess.Popen(  # it must outlive this command
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                pass_fds=(lock.descriptor,),
            )
        try:
            lock.names(process.pid)
            lock.release()
            _wait_until_up(deadline, process)
        except (KeyboardInterrupt, SystemExit):  # it was not wanted after all
            process.terminate()
            process.wait(_DOWN_TIMEOUT_S)
            raise
    finally:
        lock.release()


def _wait_until_up(deadline: float, process: subprocess.Popen[bytes] | None) -> bool:
    """Wait until the local agency is ready; return False if it ended, and `process` is None.

    Raises:
        AgencyError: `process` ended, or it is not ready in time.
    """
    while True:
        if process is not None and process.poll() is not None:
            raise _not_begun(process.returncode)
        if process is None and not place.is_running():
            return False
        pid = place.supervisor()
        state = place.read_state()
        if state is not None and state.pid == pid:
            if state.ready_at is not None:
                return True
            _refuse_hopeless(state)
        if time.monotonic() > deadline:
            raise _not_ready(state, f"not ready within {_UP_TIMEOUT_S:g} s{_why()}")
        time.sleep(_POLL_S)


def _not_begun(status: int) -> AgencyError:
    """Make the error of a supervisor that could not begin, from the error that it printed."""
    log = place.base_dir() / "up.log"
    said = log.read_text(errors="replace").strip()[-_SAID:] or f"exit status {status}, no message"
    kind = _KINDS.get(status, LocalAgencyError)
    return kind(f"it did not start: {said}", where="agency up")


def _refuse_hopeless(state: LocalState) -> None:
    for service in state.services:
        if service.failures >= _HOPELESS:
            raise _not_ready(state, f"{service.name} {service.problem}")
    if state.problem is not None:
        raise _not_ready(state, state.problem)


def _why() -> str:
    reasons = asyncio.run(observe()).reasons
    return f": {'; '.join(reasons)}" if reasons else ""


def _not_ready(state: LocalState | None, reason: str) -> LocalAgencyError:
    services = state.services if state is not None else ()
    ended = next((service for service in services if service.problem is not None), None)
    return LocalAgencyError(
        reason,
        where="agency up",
        hint=_GO_ON,
        log_tail=ended.log_end if ended is not None else (),
    )


@dataclass(frozen=True, slots=True)
class Stopped:
    """Stopped local agency: `ran` if it was running; `held` are the directories with its data."""

    ran: bool
    held: tuple[Path, ...]


def stop() -> tuple[Stopped, Lock]:
    """Stop the local agency, and end what a killed supervisor left; nothing is removed.

    The lock is returned held, so that no `up` begins while its data is removed.

    Raises:
        LocalAgencyError: it does not end.
    """
    deadline = time.monotonic() + _DOWN_TIMEOUT_S
    asked: int | None = None
    while (lock := place.take_lock()) is None:
        pid = place.supervisor()
        if pid is not None and pid != asked and _ask_to_end(pid):
            asked = pid
        if time.monotonic() > deadline:
            raise LocalAgencyError(
                f"still running after {_DOWN_TIMEOUT_S:g} s",
                where=f"process {pid}" if pid else str(place.base_dir()),
                hint="end that process, then run `agency down` again",
            )
        time.sleep(_POLL_S)
    place.end_leftovers()
    return Stopped(asked is not None, tuple(place.directories())), lock


def _ask_to_end(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if place.supervisor() != pid:  # the number may have been given to another process
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def remove(stopped: Stopped) -> None:
    """Remove the data of a local agency that was stopped."""
    for directory in stopped.held:
        try:
            shutil.rmtree(directory)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be removed: {error.strerror}", where=str(directory)
            ) from error


async def observe() -> Status:
    """Look whether a local agency runs, whether it is ready, and why not."""
    state = place.read_state()
    if not place.is_running():
        kept = place.directories()[:1]
        return Status(False, False, state, kept=kept[0] if kept else None)
    if state is None or state.pid != place.supervisor():
        return Status(True, False, None, reasons=("it is starting",))
    control = next((each for each in state.services if each.name == CONTROL), None)
    report = ReadyReport(ready=False)
    if control is None or control.running:  # else its port waits for the next start
        report = await _ask(state)
    ended = () if report.ready else tuple(filter(None, map(_ended, state.services)))
    reasons = (*ended, *([state.problem] if state.problem else ()), *report.reasons)
    ready = report.ready and state.ready_at is not None
    if not ready and not reasons:
        reasons = ("the operator is not logged in yet",)
    return Status(True, ready, state, reasons, tuple(report.warnings))


observe_local_agency = observe  # its name outside this package


def _ended(service: ServiceState) -> str | None:
    """Say how a service ended, and what comes next; None if it has not failed."""
    if service.problem is None:
        return None
    then = f"starts again at {service.next_start}" if service.next_start else "was started again"
    return (
        f"{service.name} {service.problem} ({service.failures} in a row) and {then}; "
        f"the end of {service.log} says why"
    )


async def _ask(state: LocalState) -> ReadyReport:
    """Ask the control plane: is it ready, why not, and what else is wrong."""
    timeout = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        headers = {"Authorization": f"Bearer {state.hs_token_file.read_text().strip()}"}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{state.control}{READY_PATH}", headers=headers) as answer,
        ):
            return as_report(await answer.json(content_type=None))
    except TimeoutError:
        reason = f"the control plane does not answer within {_ASK_S:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = f"the control plane does not answer: {type(error).__name__}"
    return ReadyReport(ready=False, reasons=(reason,))


def as_json(status: Status) -> dict[str, object]:
    """Describe a status as `--json` prints it."""
    return {
        "running": status.running,
        "ready": status.ready,
        "reasons": list(status.reasons),
        "warnings": list(status.warnings),
        "kept": str(status.kept) if status.kept else None,
        "agency": status.state.model_dump(mode="json") if status.state else None,
    }
