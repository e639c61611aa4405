"""Crew of one agent: its tool gateway and its account in rooms, with tokens made at each start.

open ─▶ tokens ─▶ gateway ─ ─ policy by ACP ─ ─▶ log in ─▶ rooms
close ─▶ both end ─▶ tokens count no more (digest removed, account logged out)
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.children import ChildSpec, start_child
from agency.control.runtimes.beside.base import Accounts, Occupant
from agency.control.runtimes.beside.kept import Kept, Pace, Started, StartedChild
from agency.control.runtimes.beside.session import Session
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.control.runtimes.beside.writing import (
    CONTROL_SOCKET,
    MATRIX_TOKEN,
    MODEL_TOKEN,
    Places,
    Room,
    chat_document,
    gateway_document,
    token_digest,
    work_document,
)
from agency.control.runtimes.handover import make_private
from agency.control.runtimes.logs import set_aside
from agency.files import write_atomically
from agency.protocols import GATEWAY_CONTROL_TOKEN, GATEWAY_TOKEN
from agency.secrets import SecretValue

_LOOK_S = 0.1  # for the policy, which comes by ACP soon after the start
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Hired:
    """Means that all crews share: settings, accounts, and how tokens and processes are made."""

    homeserver: str
    models: ModelSettings
    accounts: Accounts
    python: str = sys.executable
    pace: Pace = field(default_factory=Pace)
    new_token: Callable[[], str] = secrets.token_urlsafe


@dataclass(slots=True)
class Crew:
    """Programs beside the ACP process of one agent; see `Beside` for the contract of each call.

    `agent` is its name for the runtime, `occupant` tells who that is.
    """

    agent: str
    occupant: Callable[[], Occupant]
    program: ProgramSettings
    hired: Hired
    places: Places
    marker: str
    _handed: Path | None = None  # the token that ACP was given
    _tokens: tuple[SecretValue, ...] = ()
    _kept: tuple[Kept, ...] = ()
    _session: Session = field(init=False)

    def __post_init__(self) -> None:
        """Name the file of the account's token."""
        file = self.places.rooms.credentials / MATRIX_TOKEN
        self._session = Session(self.agent, self.hired.accounts, file)

    @property
    def gateway_socket(self) -> Path:
        """Control socket of the gateway, below the agent's directory."""
        return CONTROL_SOCKET

    async def open(self, credentials: Path) -> None:
        """Make all tokens anew and begin the programs; ACP finds its own in `credentials`.

        Raises:
            AgencyError: a file cannot be written.
        """
        places, hired, occupant = self.places, self.hired, self.occupant()
        to_gateway, to_control, to_model = (hired.new_token() for _ in range(3))
        self._tokens = tuple(map(SecretValue, (to_gateway, to_control, to_model)))
        config = gateway_document(places, occupant.name, hired.models)
        both = {GATEWAY_TOKEN: to_gateway, GATEWAY_CONTROL_TOKEN: to_control}
        _hand(places.gateway, config, both)
        told = (occupant.name, occupant.user, hired.homeserver, hired.models, self.program)
        config = chat_document(places, *told)
        _hand(places.rooms, config, {GATEWAY_TOKEN: to_gateway, MODEL_TOKEN: to_model})
        if (work := work_document(places, hired.models, self.program)) is not None:
            write_atomically(places.rooms.work, canonical_json(work), mode=_PRIVATE)
        make_private(credentials)
        self._handed = credentials / GATEWAY_CONTROL_TOKEN
        _write(self._handed, to_control)
        make_private(hired.models.tokens)
        _write(self._digest, sha256_hex(to_model.encode()))
        self._kept = (
            self._keeper("tool gateway", self._gateway),
            self._keeper("account in rooms", self._rooms),
        )
        for each in self._kept:
            each.begin()

    async def close(self, timeout_s: float) -> None:
        """End the programs, within that time each, and make their tokens worthless."""
        kept, self._kept = self._kept, ()
        self._digest.unlink(missing_ok=True)
        ends = await asyncio.gather(*(each.end(timeout_s) for each in kept), return_exceptions=True)
        for path in self._handed_over():
            path.unlink(missing_ok=True)
        await self._session.end()
        self._tokens = ()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    def pids(self) -> tuple[int, ...]:
        """List the programs that run."""
        handles = (each.handle for each in self._kept)
        return tuple(int(handle) for handle in handles if handle is not None)

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that the programs hold."""
        account = self._session.token
        return self._tokens if account is None else (*self._tokens, account)

    def _handed_over(self) -> Iterator[Path]:
        """Name what counts for one run alone, but for the token of the account."""
        for room in (self.places.gateway, self.places.rooms):
            for name in (GATEWAY_TOKEN, GATEWAY_CONTROL_TOKEN, MODEL_TOKEN):
                yield room.credentials / name
        yield self.places.rooms.work
        if self._handed is not None:
            yield self._handed

    @property
    def _digest(self) -> Path:
        return token_digest(self.hired.models.tokens, self.agent)

    def _keeper(self, what: str, prepare: Callable[[], Awaitable[ChildSpec]]) -> Kept:
        async def start() -> Started:
            return StartedChild(await start_child(await prepare(), marker=self.marker))

        return Kept(f"{what} of {self.agent}", start, self.secrets, self.hired.pace)

    async def _gateway(self) -> ChildSpec:
        return self._spec(self.places.gateway, "gateway")

    async def _rooms(self) -> ChildSpec:
        """Log in for the program in rooms, once there is a policy: without one it does not run."""
        while not self.places.policy.exists():  # noqa: ASYNC110 - it comes by another process
            await asyncio.sleep(_LOOK_S)
        await self._session.ready()
        return self._spec(self.places.rooms, "chat")

    def _spec(self, room: Room, verb: str) -> ChildSpec:
        set_aside(room.log)
        return ChildSpec(
            name=f"{verb} of {self.agent}",
            argv=(
                *(self.hired.python, "-I", "-m", "agency", "agent", verb, "--json"),
                *("--config", str(room.config)),
            ),
            env={"CREDENTIALS_DIRECTORY": str(room.credentials)},
            cwd=self.places.directory,
            log_path=room.log,
        )


def _hand(room: Room, config: dict[str, object], tokens: dict[str, str]) -> None:
    for directory in (room.path, room.credentials):
        make_private(directory)
    write_atomically(room.config, canonical_json(config) + b"\n", mode=_PRIVATE)
    for name, token in tokens.items():
        _write(room.credentials / name, token)


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode(), mode=_PRIVATE)
