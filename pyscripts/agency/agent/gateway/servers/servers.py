"""Servers of an agent, as its Gosuto has them: those that differ are exchanged, the rest stay."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from agency.agent.gateway.calls.dispatch import ServerAwayError
from agency.agent.gateway.calls.judging import Offered
from agency.agent.gateway.calls.results import Raw
from agency.agent.gateway.calls.tools import Tool
from agency.agent.gateway.servers import http, stdio
from agency.agent.gateway.servers.acceptance import Acceptances, Difference
from agency.agent.gateway.servers.fence import Fence
from agency.agent.gateway.servers.running import Pace, Server
from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.files import private_directory
from agency.gosuto import Document, McpServer
from agency.protocols import GatewayServer
from agency.secrets import Redactor, SecretValue

_DRAIN_S = 120.0
_LANGUAGE = "C.UTF-8"


class MissingSecretError(Exception):
    """A secret that a server needs and the agent does not hold."""


@dataclass(slots=True)
class Servers:
    """Servers by name; `place` has a directory for each that is a program."""

    place: Path
    fence: Fence
    acceptances: Acceptances
    clock: Clock
    changed: Callable[[str, str, Difference], None] = lambda *_: None
    pace: Pace = field(default_factory=Pace)
    kept: tuple[SecretValue, ...] = ()  # the gateway's own tokens, struck out like secrets
    _servers: dict[str, Server] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _secrets: Mapping[str, SecretValue] = field(default_factory=dict)
    _redactor: Redactor = field(init=False)
    _replaced: tuple[SecretValue, ...] = ()  # since `apply`; servers still have them
    _leaving: dict[asyncio.Task[None], tuple[SecretValue, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._redactor = Redactor(self.kept)

    def offered(self) -> Offered:
        """Return what can be called now."""
        tools = {tool.full: tool for each in self._servers.values() for tool in each.tools}
        return Offered(tools, frozenset(n for n, each in self._servers.items() if each.cut_off))

    def redactor(self) -> Redactor:
        """Return the redactor of every secret that is held, or that a server still has."""
        return self._redactor

    async def call(self, tool: Tool, args: Mapping[str, Any]) -> Raw:
        """Call a tool: for the dispatcher alone.

        Raises:
            ServerAwayError: the call was not made. ServerGoneError: nobody knows.
        """
        server = self._servers.get(tool.server)
        if server is None:
            raise ServerAwayError(f"there is no server {tool.server} any more")
        return await server.call(tool, args)

    def hold(self, secrets: Mapping[str, SecretValue]) -> None:
        """Hold these secrets and no others.

        Raises:
            InternalError: one is too short to be struck out of results; the old ones are kept.
        """
        held = {value.digest() for value in secrets.values()}
        gone = [value for value in self._secrets.values() if value.digest() not in held]
        replaced = (*self._replaced, *gone)
        self._redactor = self._knowing(secrets.values(), replaced)
        self._secrets, self._replaced = dict(secrets), replaced

    def apply(self, document: Document | None) -> None:
        """Run the servers of a document; calls at hand end on the servers that they are on."""
        wanted = {} if document is None else document.mcp_servers
        keys = {name: self._key(spec) for name, spec in wanted.items()}
        for name in [n for n in self._servers if self._keys[n] != keys.get(n)]:
            leaving = asyncio.create_task(self._servers.pop(name).stop(_DRAIN_S))
            # A call at hand may answer with the values that its server was given.
            self._leaving[leaving] = self._replaced
            leaving.add_done_callback(self._left)
        self._replaced = ()
        self._redactor = self._knowing(self._secrets.values())
        for name in wanted.keys() - self._servers.keys():
            self._servers[name] = self._begin(name, wanted[name])
        self._keys = keys
        for each in self._servers.values():
            each.remind()

    def reports(self) -> tuple[GatewayServer, ...]:
        """Tell the state of each server."""
        return tuple(self._servers[name].report() for name in sorted(self._servers))

    def offers(self, name: str, list_sha256: str) -> bool:
        """Return whether the tools that a server offers now have this digest."""
        server = self._servers.get(name)
        return server is not None and server.offers(list_sha256)

    def accept(self, name: str, list_sha256: str) -> bool:
        """Accept the tools that a server offers now, if they have this digest."""
        server = self._servers.get(name)
        return server is not None and server.accept(list_sha256)

    async def settled(self, within_s: float) -> None:
        """Wait until each server was looked at once."""
        waits = [asyncio.ensure_future(each.settled()) for each in self._servers.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=within_s)
            for each in late:
                each.cancel()

    async def close(self) -> None:
        """End every server."""
        for each in self._leaving:
            each.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await asyncio.gather(*(each.stop() for each in self._servers.values()))
        self._servers.clear()

    def _left(self, task: asyncio.Task[None]) -> None:
        """Forget a server that is gone, and the values that it alone still had."""
        del self._leaving[task]
        self._redactor = self._knowing(self._secrets.values(), self._replaced)

    def _knowing(
        self, held: Iterable[SecretValue], replaced: Iterable[SecretValue] = ()
    ) -> Redactor:
        still = (value for values in self._leaving.values() for value in values)
        return Redactor([*self.kept, *held, *replaced, *still])

    def _key(self, spec: McpServer) -> str:
        """Name a way of running a server: its lines in the document, and its secrets' values."""
        names = [*spec.secrets.values(), *([spec.bearer] if spec.bearer else [])]
        held = [self._secrets[n].digest() if n in self._secrets else "" for n in sorted(names)]
        return sha256_hex(canonical_json([_plain(spec), held]))

    def _begin(self, name: str, spec: McpServer) -> Server:
        server = Server(
            name,
            # Without the values: another value of a secret is no other server.
            sha256_hex(canonical_json(_plain(spec))),
            lambda _: _never(),
            self.acceptances,
            self.clock,
            self.changed,
            self._redact,
            spec.restart,
            self.pace,
        )
        try:
            server.talk = self._talk(name, spec)
        except MissingSecretError as error:
            server.fail(str(error))
            return server
        server.start()
        return server

    def _talk(
        self, name: str, spec: McpServer
    ) -> Callable[[stdio.Said], AbstractAsyncContextManager[stdio.Streams]]:
        if spec.url is not None:
            bearer = None if spec.bearer is None else self._secret(spec.bearer)
            url = spec.url
            return lambda _: http.talk(url, bearer)
        home = self.place / name
        private_directory(home)
        env = {
            "PATH": search_path(os.environ.get("PATH", os.defpath)),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": _LANGUAGE,
            **spec.env,
            **{variable: self._secret(n).reveal() for variable, n in spec.secrets.items()},
        }
        program = stdio.Program(tuple(spec.command or ()), env, home, self.fence.around(home))
        return partial(_spoken, program, self.clock)

    def _redact(self, text: str) -> str:
        return self._redactor.redact(text)

    def _secret(self, name: str) -> SecretValue:
        found = self._secrets.get(name)
        if found is None:
            raise MissingSecretError(f"the secret {name} is not held")
        return found


def _spoken(
    program: stdio.Program, clock: Clock, said: stdio.Said
) -> AbstractAsyncContextManager[stdio.Streams]:
    return stdio.talk(program, said, clock)


def _never() -> AbstractAsyncContextManager[stdio.Streams]:
    raise MissingSecretError("not begun")


def _plain(spec: McpServer) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True)


def search_path(path: str) -> str:
    """Return where programs of servers are looked for: on the PATH, then beside our own Python.

    A unit's PATH is short, and servers of the agency's own are named `agency`. Pure.
    """
    return f"{path}{os.pathsep}{Path(sys.executable).parent}"
