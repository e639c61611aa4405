"""Programs beside an agent that is a unit of systemd: what their units are handed, and the account.

    open ─▶ tokens, configurations ─▶ agency-agent@NAME ─ Wants ─▶ agency-agent-gateway@NAME
      └──▶ account: logged in, and again              ├─ Wants ─▶ agency-agent-chat@NAME
                                                      └─ Wants ─▶ agency-agent-command@NAME, if any
    the units end (BindsTo) ─▶ close ─▶ tokens count no more

systemd hands the files over as credentials: the directory is the control plane's alone. Without
them the units of an agent begin nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.control.runtimes.beside.crew import Hired
from agency.control.runtimes.beside.kept import Pace
from agency.control.runtimes.beside.session import Session
from agency.control.runtimes.beside.settings import ProgramSettings
from agency.control.runtimes.beside.writing import (
    MATRIX_TOKEN,
    MODEL_TOKEN,
    UnitPlaces,
    token_digest,
    unit_apart_document,
    unit_chat_document,
    unit_gateway_document,
    unit_work_document,
)
from agency.control.runtimes.handover import make_private, remove_tree
from agency.errors import AgencyError
from agency.files import write_atomically
from agency.protocols import GATEWAY_CONTROL_TOKEN, GATEWAY_TOKEN, WORK_CONFIG
from agency.secrets import SecretValue

GATEWAY_CONFIG, CHAT_CONFIG, HOST_CONFIG = "gateway.json", "chat.json", "host.json"
_LOOK_S = 60.0  # between two looks if the account's token still counts
_FIRST_S = 5.0  # for the log-in at a start; without it, the unit of the account tries again
_PRIVATE, _SHARED = 0o600, 0o640

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Hosted:
    """Programs beside one agent; `directory` is where systemd finds what their units load."""

    agent: str
    user: str
    program: ProgramSettings
    hired: Hired
    directory: Path
    look_s: float = _LOOK_S
    pace: Pace = field(default_factory=Pace)
    _work: asyncio.Task[None] | None = None
    _is_in: asyncio.Event = field(default_factory=asyncio.Event)
    _session: Session = field(init=False)

    def __post_init__(self) -> None:
        """Name the file of the account's token."""
        file = self.directory / MATRIX_TOKEN
        self._session = Session(self.agent, self.hired.accounts, file)

    @property
    def gateway_socket(self) -> Path:
        """Control socket of the tool gateway, as the agent's unit sees it."""
        return UnitPlaces(self.agent).control_socket

    async def open(self) -> None:
        """Make all tokens anew, before the agent's unit is started.

        Raises:
            AgencyError: a file cannot be written.
        """
        await self._rest()
        self._session.put_aside()
        hired, places = self.hired, UnitPlaces(self.agent)
        to_gateway, to_control, to_model = (hired.new_token() for _ in range(3))
        remove_tree(self.directory)
        make_private(self.directory.parent)
        make_private(self.directory)
        for name, token in (
            (GATEWAY_TOKEN, to_gateway),
            (GATEWAY_CONTROL_TOKEN, to_control),
            (MODEL_TOKEN, to_model),
        ):
            self._write(name, token.encode())
        digest = sha256_hex(to_model.encode()).encode()
        write_atomically(self._digest, digest, mode=_SHARED)
        chat = unit_chat_document(places, self.user, hired.homeserver, hired.models, self.program)
        self._write(GATEWAY_CONFIG, canonical_json(unit_gateway_document(places, hired.models)))
        self._write(CHAT_CONFIG, canonical_json(chat))
        if (told := unit_work_document(places, hired.models, self.program)) is not None:
            self._write(WORK_CONFIG, canonical_json(told))
        if (told := unit_apart_document(places, self.program)) is not None:
            self._write(HOST_CONFIG, canonical_json(told))
        self.attend()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_in.wait(), _FIRST_S)

    def attend(self) -> None:
        """Keep the account logged in while the agent runs; also after a control plane's restart."""
        if self._work is None and (self.directory / CHAT_CONFIG).exists():
            self._session.resume()
            self._work = asyncio.create_task(self._keep(), name=f"account of {self.agent}")

    async def close(self) -> None:
        """Make the tokens worthless, after the units ended."""
        self._digest.unlink(missing_ok=True)
        await self._rest()
        self._session.put_aside()
        remove_tree(self.directory)
        make_private(self.directory)  # for the token, while the homeserver does not take it
        await self._session.end()
        if not self._session.file.exists():
            remove_tree(self.directory)

    async def leave(self) -> None:
        """Keep the account no more; the agent goes on without the control plane."""
        await self._rest()

    def secrets(self) -> tuple[SecretValue, ...]:
        """List the tokens that the programs hold."""
        return tuple(self._tokens())

    def _tokens(self) -> Iterator[SecretValue]:
        for name in (GATEWAY_TOKEN, GATEWAY_CONTROL_TOKEN, MODEL_TOKEN, MATRIX_TOKEN):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                yield SecretValue((self.directory / name).read_text())

    @property
    def _digest(self) -> Path:
        return token_digest(self.hired.models.tokens, self.agent)

    def _write(self, name: str, content: bytes) -> None:
        write_atomically(self.directory / name, content, mode=_PRIVATE)

    async def _rest(self) -> None:
        work, self._work = self._work, None
        self._is_in.clear()
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _keep(self) -> None:
        failures, said = 0, ""
        while True:
            try:
                await self._session.ready()  # its unit loads the token at its next start
                failures, said = 0, ""
                self._is_in.set()
                pause_s = self.look_s
            except AgencyError as error:
                failures += 1
                pause_s = self.pace.pause_s(failures)
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s is not logged in, and it is tried again: %s", self.agent, said)
            await asyncio.sleep(pause_s)


# Of an agent, by its name and the directory of what is handed over; None where it has no program.
Hosting = Callable[[str, Path], Hosted | None]


def nothing_hosted(_name: str, _directory: Path) -> Hosted | None:
    """Return None: the agent has no program."""
    return None
