"""Service that takes events from agents, one line each, and answers when they are on disk.

The event loop writes events one after the other: most of the time goes into the disk's flush, and
the records have the order of the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections import Counter
from collections.abc import Callable

from agency.canonical import canonical_json
from agency.clock import Clock
from agency.errors import AgencyError, BadInputError
from agency.protocols import MAX_LINE
from agency.signals import stop_signals
from agency.workspace.audit.bounds import Bounds, Bucket
from agency.workspace.audit.record import Sender
from agency.workspace.audit.service.event import Event, parse_event
from agency.workspace.audit.service.peers import PROXY_EVENTS, PROXY_UID, is_agent, sender_of
from agency.workspace.audit.storage.logs import Logs

_log = logging.getLogger(__name__)

_LINGER_S = 1.0
_LINGER_READS = 16

AgentOf = Callable[[int], str | None]
IsAgent = Callable[[object], bool]


class TooManyError(BadInputError):
    """A connection beyond the limit."""


class AuditServer:
    """Server of the log; `agent_of` maps a uid to its agent, or to None.

    The metering proxy alone speaks about others: its events go to the log of the agent that
    `detail.agent` names.
    """

    def __init__(
        self,
        logs: Logs,
        agent_of: AgentOf,
        clock: Clock,
        bounds: Bounds,
        *,
        proxy_uid: int = PROXY_UID,
        is_agent: IsAgent = is_agent,
    ) -> None:
        self._logs = logs
        self._agent_of = agent_of
        self._clock = clock
        self._bounds = bounds
        self._proxy_uid = proxy_uid
        self._is_agent = is_agent
        self._connections: Counter[int] = Counter()
        # Of agents only, so there are few; the proxy has one for each.
        self._buckets: dict[tuple[int, str], Bucket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listening: socket.socket, stopping: asyncio.Event) -> None:
        """Answer until `stopping` is set; then close the socket."""
        self._logs.open_all()
        if sys.version_info >= (3, 13):  # systemd owns the socket's name and removes it
            server = await asyncio.start_unix_server(
                self._answer, sock=listening, limit=MAX_LINE, cleanup_socket=False
            )
        else:
            server = await asyncio.start_unix_server(self._answer, sock=listening, limit=MAX_LINE)
        keeping = asyncio.create_task(self._housekeep())
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({keeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():  # it ends by a failure only, and the service with it
                keeping.result()
        finally:
            server.close()
            for task in (keeping, waiting, *self._tasks):
                task.cancel()
            await asyncio.gather(keeping, waiting, *self._tasks, return_exceptions=True)
            self._logs.close()

    async def _housekeep(self) -> None:
        while True:
            self._logs.housekeep()
            await asyncio.sleep(self._bounds.housekeeping_s)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        uid = -1
        try:
            sender = sender_of(writer.get_extra_info("socket"))
            uid = sender.uid
            self._connections[uid] += 1
            agent = self._admitted(sender)
            while await self._one(reader, writer, agent, sender):
                pass
        except AgencyError as error:
            with contextlib.suppress(OSError, TimeoutError):
                await self._send(writer, _refusal(error))
                if not isinstance(error, TooManyError):
                    await _let_it_read(reader, writer)
        except (OSError, TimeoutError):
            pass  # it is gone, or says nothing, or does not read
        except asyncio.CancelledError:
            pass  # the service ends; the stream's own task must not look failed
        finally:
            self._tasks.discard(task)
            if uid >= 0:
                self._connections[uid] -= 1
                self._connections += Counter()  # drops what is zero
            writer.close()

    def _admitted(self, sender: Sender) -> str | None:
        """Find the agent of a sender; None for the metering proxy.

        Raises:
            BadInputError: the sender is no agent.
            TooManyError: there are too many connections.
        """
        agent = self._agent_of(sender.uid)
        if agent is None and sender.uid != self._proxy_uid:
            _log.warning(
                "refused: no agent", extra={"fields": {"uid": sender.uid, "pid": sender.pid}}
            )
            raise BadInputError(
                f"uid {sender.uid} is not an agent's",
                hint="only the agents of this machine's instance can put events on record",
            )
        if (
            self._connections[sender.uid] > self._bounds.connections_per_uid
            or self._connections.total() > self._bounds.connections
        ):
            raise TooManyError("too many connections", hint="send events over one connection")
        return agent

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        agent: str | None,
        sender: Sender,
    ) -> bool:
        """Take one event and answer it; return False at the end of the input.

        Raises:
            BadInputError: the line is too long, so that its end is unknown.
        """
        try:
            async with asyncio.timeout(self._bounds.idle_s):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return False  # half a line is no event
        except asyncio.LimitOverrunError as error:
            raise BadInputError(
                f"the line is longer than {MAX_LINE} bytes", hint="shorten the detail"
            ) from error
        try:
            answer = self._recorded(line, agent, sender)
        except AgencyError as error:
            answer = _refusal(error)
        await self._send(writer, answer)
        return True

    def _recorded(self, line: bytes, own: str | None, sender: Sender) -> bytes:
        if own is not None:
            self._take(sender, own)
        event = parse_event(line)
        agent = self._about(event) if own is None else own
        if own is None:
            self._take(sender, agent)
        try:
            head = self._logs.append(agent, sender, event.event, event.detail)
        except AgencyError as error:
            _log.error(
                "an event could not be put on record",
                extra={"fields": {"agent": agent, "reason": error.message, "where": error.where}},
            )
            raise
        return canonical_json({"sequence": head.sequence, "hash": head.hash}) + b"\n"

    def _take(self, sender: Sender, agent: str) -> None:
        key = (sender.uid, agent)
        if key not in self._buckets:
            self._buckets[key] = Bucket(self._bounds, self._clock)
        if not self._buckets[key].take():
            raise BadInputError(
                "too many events: this one is not on record",
                hint=f"{self._bounds.burst} at once, {self._bounds.rate_per_s:g} a second on",
            )

    def _about(self, event: Event) -> str:
        """Find the agent whose call the proxy tells of."""
        agent = event.detail.get("agent")
        if event.event not in PROXY_EVENTS or not self._is_agent(agent):
            raise BadInputError(
                "the proxy tells of calls of this machine's agents, and of nothing else",
                hint=f"{', '.join(PROXY_EVENTS)} with detail.agent",
            )
        return str(agent)

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer)
        async with asyncio.timeout(self._bounds.idle_s):
            await writer.drain()


async def _let_it_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until a refused sender has read the answer; it must finish writing before it reads."""
    writer.write_eof()
    async with asyncio.timeout(_LINGER_S):
        for _ in range(_LINGER_READS):
            if not await reader.read(MAX_LINE):
                return


def _refusal(error: AgencyError) -> bytes:
    # Where it failed is the operator's business; the journal has it.
    return canonical_json({"error": error.message, "hint": error.hint}) + b"\n"


async def serve_until_signal(server: AuditServer, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stopping.set)
    await server.serve(listening, stopping)
