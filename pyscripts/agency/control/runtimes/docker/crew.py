"""Crew of an agent in containers: gateway, rooms and command-line agent, each in one of its own.

open ─▶ tokens ─▶ gateway ─ ─ policy by ACP ─ ─▶ log in ─▶ rooms
resume ─▶ containers that a control plane left running are kept on
close ─▶ both end ─▶ tokens count no more (digest removed, account logged out)

Containers outlive the control plane. While that is away the doors are shut, and nothing that ends
is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.control.runtimes.base import Usage
from agency.control.runtimes.beside.base import Occupant
from agency.control.runtimes.beside.crew import Hired
from agency.control.runtimes.beside.kept import Kept, Started
from agency.control.runtimes.beside.session import Session
from agency.control.runtimes.beside.settings import ProgramSettings
from agency.control.runtimes.beside.writing import MATRIX_TOKEN, MODEL_TOKEN, token_digest
from agency.control.runtimes.docker import parts
from agency.control.runtimes.docker.container import (
    Identity,
    Inside,
    container_config,
    whole_seconds,
)
from agency.control.runtimes.docker.door import Door
from agency.control.runtimes.docker.engine import Engine
from agency.control.runtimes.docker.settings import DockerSettings
from agency.control.runtimes.handover import make_directory, make_private, remove_tree
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.naming import container_uid
from agency.protocols import GATEWAY_CONTROL_TOKEN, GATEWAY_TOKEN
from agency.secrets import SecretValue

_LOOK_S = 0.1  # for the policy, which comes by ACP soon after the start
_LOG_LINES = 20
# The directory above is closed; in its container another user reads.
_READABLE, _PASSABLE = 0o444, 0o755


@dataclass(frozen=True, slots=True)
class Yard:
    """Means of a crew, from its runtime: engine, the closed directory, and the agent's Gosuto."""

    engine: Engine
    settings: DockerSettings
    directory: Path
    policy: Path
    stop_timeout_s: float


@dataclass(frozen=True, slots=True)
class StartedContainer:
    """Container that was started, or found running."""

    engine: Engine
    agent: str
    part: str
    id: str

    @property
    def handle(self) -> str | None:
        """Its id."""
        return self.id

    async def ended(self) -> tuple[int, tuple[str, ...]]:
        """Wait for its end; return its exit status and its last lines."""
        await self.engine.wait(self.id)
        seen = await self.engine.find(self.agent, self.part)
        status = None if seen is None or seen.id != self.id else seen.exit_status
        return status or 0, await self.engine.log(self.id, _LOG_LINES)

    async def stop(self, timeout_s: float) -> None:
        """End it; SIGKILL after `timeout_s`."""
        await self.engine.stop(self.id, whole_seconds(timeout_s))


@dataclass(slots=True)
class ContainerCrew:
    """Containers beside the one of an agent's ACP process.

    `agent` is its name for the runtime, `occupant` tells who that is.
    """

    agent: str
    occupant: Callable[[], Occupant]
    program: ProgramSettings
    hired: Hired
    yard: Yard
    known: bool = False  # since `open`, `resume` or `close`
    _kept: tuple[Kept, ...] = ()
    _doors: tuple[Door, ...] = field(init=False)
    _session: Session = field(init=False)

    def __post_init__(self) -> None:
        """Name its doors, and the file of the account's token."""
        rooms, hired = self._handed(parts.ROOMS), self.hired
        self._doors = (
            Door(rooms, parts.HOMESERVER_DOOR, hired.homeserver),
            Door(rooms, parts.MODELS_DOOR, hired.models.url),
        )
        file = rooms / MATRIX_TOKEN
        self._session = Session(self.agent, hired.accounts, file, mode=_READABLE)

    @property
    def running(self) -> bool:
        """True between `open` or `resume`, and `close` or `leave`."""
        return bool(self._kept)

    async def open(self) -> None:
        """Make all tokens anew, and begin the programs; those of an earlier run were closed.

        Raises:
            AgencyError: a file cannot be written, or the engine refuses.
        """
        engine, identity = self.yard.engine, self.yard.engine.identity(self.agent)
        for volume in self._volumes(identity):
            await engine.share(self.agent, volume)
        models = self.hired.models
        to_gateway, to_control, to_model = (self.hired.new_token() for _ in range(3))
        both = {GATEWAY_TOKEN: to_gateway, GATEWAY_CONTROL_TOKEN: to_control}
        occupant = self.occupant()
        gateway = parts.gateway_document(occupant.name, models)
        self._hand(parts.GATEWAY, both, parts.GATEWAY_FILE, gateway)
        told = parts.rooms_document(occupant.name, occupant.user, models, self.program)
        tokens = {GATEWAY_TOKEN: to_gateway, MODEL_TOKEN: to_model}
        self._hand(parts.ROOMS, tokens, parts.ROOMS_FILE, told)
        if (config := parts.command_document(self.program)) is not None:
            self._hand(parts.COMMAND, tokens, parts.COMMAND_FILE, config)
        self._hand("", {GATEWAY_CONTROL_TOKEN: to_control})
        make_private(models.tokens)
        write_atomically(self._digest, sha256_hex(to_model.encode()).encode(), mode=0o600)
        await self._begin()

    async def resume(self) -> None:
        """Keep on what a control plane left running.

        Raises:
            PrerequisiteError: a door cannot be made.
        """
        self._session.resume()
        await self._begin()

    async def _begin(self) -> None:
        self.known = True
        make_private(self.yard.policy.parent.parent)
        make_directory(self.yard.policy.parent, _PASSABLE)
        make_directory(self._handed(parts.ROOMS), _PASSABLE)
        for door in self._doors:
            await door.open()
        made = {
            parts.GATEWAY: ("tool gateway", self._gateway),
            parts.COMMAND: ("command-line agent", self._command),
            parts.ROOMS: ("account in rooms", self._rooms),
        }
        if not self._is_command:
            del made[parts.COMMAND]
        self._kept = tuple(self._keeper(part, *each) for part, each in made.items())
        for each in self._kept:
            each.begin()

    async def close(self, timeout_s: float) -> None:
        """End the programs, within that time each, and make their tokens worthless."""
        kept, self._kept, self.known = self._kept, (), True
        self._digest.unlink(missing_ok=True)
        await asyncio.gather(*(each.leave() for each in kept))
        try:
            await self._discard(timeout_s)
        finally:
            for door in self._doors:
                await door.close()
            for path in self._tokens():
                path.unlink(missing_ok=True)
            self._session.resume()
            await self._session.end()

    async def leave(self) -> None:
        """Watch nothing more; the containers run on."""
        kept, self._kept = self._kept, ()
        await asyncio.gather(*(each.leave() for each in kept))
        for door in self._doors:
            await door.close()

    async def erase(self) -> None:
        """Remove what is kept of programs that ended: volumes, files."""
        engine, identity = self.yard.engine, self.yard.engine.identity(self.agent)
        for part in parts.ALL:
            await engine.remove_volume(self.agent, engine.identity(self.agent, part).volume)
            await asyncio.to_thread(remove_tree, self._handed(part))
        for volume in self._volumes(identity):
            await engine.remove_volume(self.agent, volume)
        await asyncio.to_thread(remove_tree, self.yard.policy.parents[2])

    async def usages(self) -> tuple[Usage, ...]:
        """Count what its containers use."""
        engine = self.yard.engine
        found = [await engine.find(self.agent, part) for part in parts.ALL]
        running = [seen.id for seen in found if seen is not None and seen.running]
        return tuple([await engine.usage(each) for each in running])

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that its programs hold."""
        held = []
        for path in (*self._tokens(), self._session.file):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                held.append(SecretValue(path.read_text()))
        return tuple(held)

    @property
    def _is_command(self) -> bool:
        return self.program.kind == "command"

    @staticmethod
    def _volumes(identity: Identity) -> tuple[str, ...]:
        """Name the volumes in memory that its containers share."""
        both = (parts.front_volume(identity), parts.control_volume(identity))
        return (*both, parts.tasks_volume(identity))

    def _tokens(self) -> Iterator[Path]:
        """Name the files of the tokens of a run, without that of the account."""
        for part in (*parts.ALL, ""):
            for name in (GATEWAY_TOKEN, GATEWAY_CONTROL_TOKEN, MODEL_TOKEN):
                yield self._handed(part) / name

    @property
    def _digest(self) -> Path:
        return token_digest(self.hired.models.tokens, self.agent)

    def _handed(self, part: str) -> Path:
        return self.yard.directory / (f"{self.agent}.{part}" if part else self.agent)

    def _hand(
        self, part: str, tokens: dict[str, str], name: str = "", config: object = None
    ) -> None:
        make_private(self.yard.directory)
        directory = self._handed(part)
        make_directory(directory, _PASSABLE)
        if config is not None:
            write_atomically(directory / name, canonical_json(config) + b"\n", mode=_READABLE)
        for token, value in tokens.items():
            write_atomically(directory / token, value.encode(), mode=_READABLE)

    def _keeper(self, part: str, what: str, inside: Callable[[], Awaitable[Inside]]) -> Kept:
        async def start() -> Started:
            return await self._started(part, inside)

        return Kept(f"{what} of {self.agent}", start, self.secrets, self.hired.pace)

    async def _started(self, part: str, inside: Callable[[], Awaitable[Inside]]) -> Started:
        """Start a container, or take up the one that runs."""
        engine, yard = self.yard.engine, self.yard
        seen = await engine.find(self.agent, part)
        if seen is not None and seen.running:
            return StartedContainer(engine, self.agent, part, seen.id)
        wanted = await inside()
        if seen is not None:
            await engine.remove(seen.id)
        identity = engine.identity(self.agent, part)
        config = container_config(identity, yard.settings, wanted, "", yard.stop_timeout_s)
        made = await engine.create(self.agent, config, part)
        await engine.start(made)
        return StartedContainer(engine, self.agent, part, made)

    def beside(self, acp: Inside) -> Inside:
        """Add to the container of ACP what it sees of these.

        Raises:
            PrerequisiteError: this machine's audit log does not run.
        """
        identity = self.yard.engine.identity(self.agent)
        return parts.with_gateway(acp, identity, self.hired.models, self._audit_group())

    def _audit_group(self) -> int:
        """Return the group that may use the audit log's socket; its own one without a log.

        Raises:
            PrerequisiteError: the socket is not there.
        """
        path = self.hired.models.audit_socket
        if path is None:
            return container_uid(self.agent)
        try:
            return path.stat().st_gid
        except OSError as error:
            raise PrerequisiteError(
                f"the agents' audit log cannot be reached: {error.strerror}",
                where=str(path),
                hint="start agency-audit.socket; without a record no call is made",
            ) from error

    async def _gateway(self) -> Inside:
        identity = self.yard.engine.identity(self.agent)
        models, group = self.hired.models, self._audit_group()
        return parts.gateway_inside(identity, self._handed(parts.GATEWAY), models, group)

    async def _rooms(self) -> Inside:
        """Log in for the program in rooms, once there is a policy: without one it does not run."""
        policy = self.yard.policy
        while not policy.exists():  # noqa: ASYNC110 - it comes by ACP
            await asyncio.sleep(_LOOK_S)
        await self._session.ready()
        identity, models = self.yard.engine.identity(self.agent), self.hired.models
        handed, group = self._handed(parts.ROOMS), self._audit_group()
        inside = parts.rooms_inside(identity, handed, policy.parent, models, group)
        return parts.with_tasks(inside, identity) if self._is_command else inside

    async def _command(self) -> Inside:
        identity = self.yard.engine.identity(self.agent)
        return parts.command_inside(identity, self._handed(parts.COMMAND), self.program)

    async def _discard(self, timeout_s: float) -> None:
        """End and remove its containers, at the same time."""
        ends = await asyncio.gather(
            *(self._remove(part, timeout_s) for part in parts.ALL),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _remove(self, part: str, timeout_s: float) -> None:
        engine = self.yard.engine
        seen = await engine.find(self.agent, part)
        if seen is None:
            return
        if seen.running:
            await engine.stop(seen.id, whole_seconds(timeout_s))
        await engine.remove(seen.id)
