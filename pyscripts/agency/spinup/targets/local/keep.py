"""Supervision of the local agency: services that end are started again, and nothing is lost.

    keep ──▶ homeserver: launch, wait for its end, wait a little longer each time, launch
         ──▶ control plane: the same
         ──▶ welcome: accounts, log-in, login file; again until it works
         ──▶ board: state.json, which `up` and `status` read

A service that does not come up takes nothing down with it. The data stays where it is, also when
the supervisor ends: `agency down` removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agency.children import Child
from agency.clock import Clock, iso
from agency.control import Login, default_login_file, local_socket, place_of, write_login
from agency.errors import AgencyError
from agency.files import write_atomically
from agency.instance import Instance, LoadedInstance, load_instance, open_provider
from agency.rundir import RunDirectory
from agency.secrets import MATRIX_HS_TOKEN, OPERATOR_PASSWORD, Redactor
from agency.signals import stop_signals
from agency.spinup.targets.local import place
from agency.spinup.targets.local.agency import LocalAgency, answers
from agency.spinup.targets.local.models import MODELS
from agency.spinup.targets.local.place import LocalState, Lock, ServiceState
from agency.spinup.targets.local.ports import CONTROL, HOMESERVER, check_port_names, hold_ports
from agency.spinup.targets.local.supervisor import Supervisor

_log = logging.getLogger(__name__)

_KEPT_SECRETS = "kept.json"
_STEADY_S = 60.0  # a service that ran as long had come up
_LONGEST_WAIT_S = 30.0
_POLL_S = 0.1
_LOG_LINES, _LOG_BYTES = 20, 16 * 1024
_NO_COMMAND_YET = "the operator could not be logged in"


def wait_s(failures: int) -> float:
    """Return how long to wait before the next start, after failures in a row: 0, 1, 2, 4 ... 30."""
    return 0.0 if failures < 2 else min(2.0 ** (failures - 2), _LONGEST_WAIT_S)


@dataclass(slots=True)
class Board:
    """Writer of the state, for those who ask; `redact` removes secrets from ends of logs."""

    directory: Path
    state: LocalState
    redact: Callable[[str], str]

    def write(self) -> None:
        """Write the state.

        Raises:
            AgencyError: it cannot be written.
        """
        place.write_state(self.directory, self.state)

    def change(self, **changes: object) -> None:
        """Change the state, and write it; a full disk must not end the services."""
        self.state = self.state.model_copy(update=changes)
        try:
            self.write()
        except AgencyError as error:
            _log.warning("cannot tell how the local agency is: %s", error.message)

    def service(self, name: str) -> ServiceState:
        """Return the state of a service."""
        return next(each for each in self.state.services if each.name == name)

    def note(self, name: str, **changes: object) -> None:
        """Change the state of a service, and write it."""
        changed = self.service(name).model_copy(update=changes)
        others = self.state.services
        self.change(services=tuple(changed if each.name == name else each for each in others))


@dataclass(slots=True)
class Keeper:
    """Keeper of one local agency; `launches` start its services, by name."""

    supervisor: Supervisor
    board: Board
    clock: Clock
    launches: Mapping[str, Callable[[], Awaitable[Child]]]

    async def keep(self, name: str) -> None:
        """Run a service for ever: start it again whenever it ends, or cannot be started."""
        failures = 0
        while True:
            begun = self.clock.steady()
            problem, log_end = await self._run_once(name)
            failures = 1 if self.clock.steady() - begun > _STEADY_S else failures + 1
            delay_s = wait_s(failures)
            _log.warning(
                "%s %s; it is started again in %g s", name, problem, delay_s,
                extra={"fields": {"service": name, "failures": failures, "log_end": log_end}},
            )  # fmt: skip
            self.board.note(
                name,
                running=False,
                since=self.clock.now_iso(),
                failures=failures,
                problem=problem,
                log_end=log_end,
                next_start=iso(self.clock.wall() + delay_s),
            )
            await asyncio.sleep(delay_s)

    async def _run_once(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Run a service until it ends; return how it ended, and the end of its log."""
        try:
            child = await self.launches[name]()
        except AgencyError as error:
            return f"cannot be started: {error}", ()
        self.board.note(name, running=True, since=self.clock.now_iso(), next_start=None)
        status = await child.wait()
        log_end = tuple(map(self.board.redact, child.log_tail(_LOG_LINES, _LOG_BYTES)))
        await self.supervisor.stop(name)
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return how, log_end


async def run_foreground(
    instance: Path, age_key: Path | None, pinned: Mapping[str, int], clock: Clock, lock: Lock
) -> None:
    """Run a local agency until SIGTERM or SIGINT; it goes on with what was kept.

    Raises:
        AgencyError: it cannot begin: a bad instance, a taken port, a missing program.
    """
    wish = _wish()
    loaded = load_instance(instance)
    check_port_names(loaded.instance, pinned, with_api=True)
    directory, known = place.open_directory(loaded.instance.domain)
    async with contextlib.AsyncExitStack() as held:
        held.callback(directory.release)
        held.callback(default_login_file().unlink, missing_ok=True)
        held.callback(local_socket().unlink, missing_ok=True)
        secrets = open_provider(
            loaded,
            directory.credentials,
            age_key_file=age_key,
            kept=directory.credentials / _KEPT_SECRETS,
        )
        held.callback(secrets.close)
        session = await held.enter_async_context(aiohttp.ClientSession())
        usual = known.ports if known else {}
        ports = hold_ports(loaded.instance, pinned, usual, with_api=True)
        supervisor = Supervisor(directory.run)
        agency = LocalAgency(loaded.instance, directory, secrets, ports, session, supervisor)
        held.callback(agency.close)
        held.push_async_callback(supervisor.stop_all)
        agency.install()
        local_socket().unlink(missing_ok=True)
        local_socket().symlink_to(place_of(agency.run.path / CONTROL, {}).path)
        board = Board(
            directory.path,
            _first_state(agency, loaded, clock),
            Redactor(agency.known_secrets()).redact,
        )
        board.write()
        lock.names(os.getpid())
        await _run(agency, board, clock, wish)


def _services(agency: LocalAgency) -> tuple[str, ...]:
    return (HOMESERVER, CONTROL, *((MODELS,) if agency.has_models else ()))


def _wish() -> asyncio.Event:
    loop, wish = asyncio.get_running_loop(), asyncio.Event()
    for number in stop_signals():
        loop.add_signal_handler(number, wish.set)
    return wish


def _nobody_approves(instance: Instance) -> bool:
    deciding = {*instance.operators, *instance.approvers}
    return len(deciding) < 2 and instance.approvals.solo_delay is None


def _first_state(agency: LocalAgency, loaded: LoadedInstance, clock: Clock) -> LocalState:
    run: RunDirectory = agency.run
    now = clock.now_iso()
    services = tuple(
        ServiceState(name=name, since=now, log=run.logs / f"{name}.log")
        for name in _services(agency)
    )
    return LocalState(
        pid=os.getpid(),
        started_at=now,
        instance=agency.instance.name,
        instance_file=loaded.root,
        domain=agency.instance.domain,
        homeserver=agency.homeserver_url,
        control=agency.control_url,
        api=agency.api_url,
        nobody_approves=_nobody_approves(agency.instance),
        only_on_hosts={n: a.features for n, a in agency.instance.agents.items() if a.features},
        control_room=agency.control_room,
        operator=agency.instance.operators[0],
        login_file=default_login_file(),
        password_file=run.credentials / OPERATOR_PASSWORD,
        hs_token_file=agency.secrets.credentials((MATRIX_HS_TOKEN,)) / MATRIX_HS_TOKEN,
        logs=run.logs,
        ports=dict(agency.assigned),
        services=services,
    )


async def _run(agency: LocalAgency, board: Board, clock: Clock, wish: asyncio.Event) -> None:
    launches = {HOMESERVER: agency.launch_homeserver, CONTROL: agency.launch_control}
    if agency.has_models:
        launches[MODELS] = agency.launch_models
    keeper = Keeper(agency.supervisor, board, clock, launches)
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(keeper.keep(name)) for name in reversed(_services(agency))
    ]
    tasks += [
        asyncio.ensure_future(_welcome(agency, board, clock)),
        asyncio.ensure_future(wish.wait()),
    ]
    try:
        # None but the wish and the welcome ends by itself: another end is a defect, and is raised.
        while not wish.is_set():
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            tasks = [task for task in tasks if task not in done]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _welcome(agency: LocalAgency, board: Board, clock: Clock) -> None:
    """Make the accounts and log the first operator in, as soon as that works."""
    failures = 0
    while True:
        try:
            await _until_answers(agency, f"{agency.homeserver_url}/health")
            await agency.create_people(again=True)
            await _until_answers(agency, f"{agency.control_url}/ready")
            await _log_in(agency)
        except AgencyError as error:
            failures += 1
            problem = f"{_NO_COMMAND_YET}: {board.redact(str(error))}"
            _log.warning(problem)
            board.change(problem=problem if failures > 1 else None)
            await asyncio.sleep(max(wait_s(failures), 1.0))
        else:
            board.change(ready_at=clock.now_iso(), problem=None)
            return


async def _until_answers(agency: LocalAgency, url: str) -> None:
    # A service has no event for being ready.
    while not await answers(agency.session, url):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


async def _log_in(agency: LocalAgency) -> None:
    operator = await agency.log_in(agency.instance.operators[0])
    room = await operator.join(agency.control_room)
    password_file = agency.run.credentials / OPERATOR_PASSWORD
    write_atomically(password_file, agency.password.reveal().encode(), mode=0o600)
    login = Login(
        homeserver=agency.homeserver_url,
        user_id=operator.user_id,
        access_token=operator.access_token,
        control_room=room,
    )
    write_login(default_login_file(), login)
