"""Local agency that is kept running for trials: up, down, status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agency import rundir
from agency.clock import Clock, new_id
from agency.control import Login, default_login_file, write_login
from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.instance import load_instance, open_provider
from agency.paths import state_dir
from agency.protocols import READY_PATH, ReadyReport, as_report
from agency.secrets import MATRIX_HS_TOKEN, OPERATOR_PASSWORD
from agency.settings import Strict
from agency.signals import stop_signals
from agency.spinup.targets.local.agency import (
    LocalAgency,
    assign_ports,
    check_port_names,
)
from agency.spinup.targets.local.supervisor import ServiceError, Supervisor

_STATE = "state.json"
_UP_TIMEOUT_S = 120.0
_DOWN_TIMEOUT_S = 30.0
_READY_TIMEOUT_S = 15.0  # above the time in which the control plane gives its homeserver up
_MAX_RESTARTS, _RESTART_WINDOW_S = 5, 60.0


class LocalAgencyError(AgencyError):
    """The local agency is not as it should be."""


class LocalState(Strict):
    """Facts about a running local agency, in `state.json` of its directory."""

    pid: int
    started_at: str
    instance: str
    homeserver: str
    control: str
    control_room: str
    operator: str
    login_file: Path
    password_file: Path
    ready_token_file: Path | None = None
    logs: Path


@dataclass(frozen=True, slots=True)
class Status:
    """State of a local agency as it is seen now."""

    running: bool
    ready: bool
    state: LocalState | None
    report: ReadyReport | None = None


def base_dir() -> Path:
    """Return the directory below which local agencies live."""
    return state_dir() / "local"


def read_state() -> LocalState | None:
    """Read the state of the local agency that runs and has become ready, if there is one."""
    directory = rundir.alive(base_dir())
    if directory is None or not (directory / _STATE).exists():
        return None
    return LocalState.model_validate_json((directory / _STATE).read_text())


async def run_foreground(
    instance: Path, age_key: Path | None, pinned: Mapping[str, int], clock: Clock
) -> None:
    """Run a local agency until SIGTERM or SIGINT; services that end are started again.

    Raises:
        ServiceError: a service does not start, or ends too often.
    """
    loaded = load_instance(instance)
    check_port_names(loaded.instance, pinned)
    base = base_dir()
    rundir.reap(base)
    directory = rundir.create(base, new_id("up"))
    async with contextlib.AsyncExitStack() as held:
        held.callback(directory.remove)
        held.callback(default_login_file().unlink, missing_ok=True)
        secrets = open_provider(loaded, directory.credentials, age_key_file=age_key)
        held.callback(secrets.close)
        session = await held.enter_async_context(aiohttp.ClientSession())
        ports = assign_ports(loaded.instance, pinned)
        supervisor = Supervisor(directory.run)
        held.push_async_callback(supervisor.stop_all)
        agency = LocalAgency(loaded.instance, directory, secrets, ports, session, supervisor)
        await _start(agency, clock)
        await _keep(supervisor, clock)


async def _start(agency: LocalAgency, clock: Clock) -> None:
    agency.install()
    await agency.launch_control()
    await agency.start_homeserver()
    await agency.create_people()
    await agency.control_ready()
    operator = await agency.log_in(agency.instance.operators[0])
    room = await operator.join(agency.control_room)
    password_file = agency.run.credentials / OPERATOR_PASSWORD
    write_atomically(password_file, agency.password.reveal().encode(), mode=0o600)
    token_file = agency.run.credentials / MATRIX_HS_TOKEN
    write_atomically(token_file, agency.secret(MATRIX_HS_TOKEN).reveal().encode(), mode=0o600)
    login = Login(
        homeserver=agency.homeserver_url,
        user_id=operator.user_id,
        access_token=operator.access_token,
        control_room=room,
    )
    write_login(default_login_file(), login)
    state = LocalState(
        pid=os.getpid(),
        started_at=clock.now_iso(),
        instance=agency.instance.name,
        homeserver=agency.homeserver_url,
        control=agency.control_url,
        control_room=agency.control_room,
        operator=operator.user_id,
        login_file=default_login_file(),
        password_file=password_file,
        ready_token_file=token_file,
        logs=agency.run.logs,
    )
    write_atomically(agency.run.path / _STATE, state.model_dump_json(indent=2).encode())


async def _keep(supervisor: Supervisor, clock: Clock) -> None:
    loop, wish = asyncio.get_running_loop(), asyncio.Event()
    for number in stop_signals():
        loop.add_signal_handler(number, wish.set)
    restarts: deque[float] = deque(maxlen=_MAX_RESTARTS)
    stop = asyncio.ensure_future(wish.wait())
    while not stop.done():
        watch = asyncio.ensure_future(supervisor.watch())
        await asyncio.wait({watch, stop}, return_when=asyncio.FIRST_COMPLETED)
        if watch.cancel():
            continue
        try:
            watch.result()
        except ServiceError as ended:
            now = clock.steady()
            if len(restarts) == _MAX_RESTARTS and now - restarts[0] < _RESTART_WINDOW_S:
                raise
            restarts.append(now)
            await supervisor.restart(ended.service)


def start_detached(instance: Path, age_key: Path | None, pinned: Mapping[str, int]) -> LocalState:
    """Start `agency up --foreground` in a session of its own and wait until it is ready.

    Raises:
        LocalAgencyError: it ended, or did not become ready in time.
    """
    base = base_dir()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(f"cannot be made: {error.strerror}", where=str(base)) from error
    argv = [sys.executable, "-m", "agency", "up", "--foreground", "--instance", str(instance)]
    argv += ["--age-key", str(age_key)] if age_key else []
    argv += [f"--port={name}={port}" for name, port in pinned.items()]
    log = base / "up.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(  # it must outlive this command
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            reason = log.read_text(errors="replace").strip() or "no message"
            raise LocalAgencyError(f"it did not start: {reason[-2000:]}", where="agency up")
        state = read_state()
        if state is not None:
            return state
        time.sleep(0.1)
    process.terminate()
    raise LocalAgencyError(f"not ready within {_UP_TIMEOUT_S:g} s", where=str(log))


def stop() -> bool:
    """Stop the local agency and clean up after it; return whether one was running.

    Raises:
        LocalAgencyError: it does not end.
    """
    state = read_state()
    if state is not None:
        os.kill(state.pid, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_TIMEOUT_S
        while rundir.alive(base_dir()) is not None:
            if time.monotonic() > deadline:
                raise LocalAgencyError(
                    f"still running after {_DOWN_TIMEOUT_S:g} s",
                    where=f"process {state.pid}",
                    hint=f"look at {state.logs}, then end that process",
                )
            time.sleep(0.1)
    if base_dir().is_dir():
        rundir.reap(base_dir())
    return state is not None


async def observe() -> Status:
    """Look whether a local agency runs, and whether its control plane is ready."""
    state = read_state()
    if state is None:
        return Status(running=rundir.alive(base_dir()) is not None, ready=False, state=None)
    async with aiohttp.ClientSession() as session:
        report = await _ask(session, state)
    return Status(running=True, ready=report.ready, state=state, report=report)


async def _ask(session: aiohttp.ClientSession, state: LocalState) -> ReadyReport:
    """Ask the control plane how it is."""
    headers = {}
    if state.ready_token_file is not None:
        with contextlib.suppress(OSError):
            token = state.ready_token_file.read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"Bearer {token}"}
    try:
        timeout = aiohttp.ClientTimeout(total=_READY_TIMEOUT_S)
        url = f"{state.control}{READY_PATH}"
        async with session.get(url, headers=headers, timeout=timeout) as answer:
            return as_report(await answer.json(content_type=None))
    except (aiohttp.ClientError, TimeoutError, ValueError):
        reason = "the control plane does not answer; the end of its log says why"
        return ReadyReport(ready=False, reasons=(reason,))


def as_json(status: Status) -> dict[str, object]:
    """Describe a status as `--json` prints it."""
    state = status.state.model_dump(mode="json") if status.state else None
    report = status.report
    return {
        "running": status.running,
        "ready": status.ready,
        "reasons": list(report.reasons) if report else [],
        "warnings": list(report.warnings) if report else [],
        "agency": state,
    }
