"""A headless Chromium on this machine, driven over two pipes (Chrome DevTools Protocol).

Its home is a directory of the run with one authority in it, it knows the names of one domain and
no others, and it keeps nothing. What it is told, passwords among it, is in no argument and on no
port.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from agency import naming
from agency.chromium import find_browser, trust_authorities
from agency.errors import AgencyError

_START_S, _CALL_S, _END_S = 30.0, 20.0, 10.0
_POLL_S = 0.1
_MAX_MESSAGE = 16 * 1024 * 1024
_LEAST_FD = 10
# Chromium reads its commands from descriptor 3 and answers on 4.
_LAUNCH = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.dup2(int(sys.argv[2]), 4)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--password-store=basic"),
)
AS_ROOT = ("--no-sandbox",)  # it has none for root; here it shows pages of the run's guest alone


class BrowserError(AgencyError):
    """The browser refuses a page, or does not answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """Way to the only names that the browser knows, and the authority that it trusts (PEM)."""

    domain: str
    port: int
    authority: str

    def rules(self) -> str:
        """Return Chromium's words for it."""
        hosts = (self.domain, *(naming.public_host(one, self.domain) for one in _SITES))
        mapped = [f"MAP {host}:443 127.0.0.1:{self.port}" for host in hosts]
        return ",".join([*mapped, "MAP * ~NOTFOUND"])


_SITES = ("element", "matrix")


@contextlib.asynccontextmanager
async def browsing(route: Route, home: Path) -> AsyncIterator[Browser]:
    """Run a browser for the length of the block; its home is removed at the end.

    Raises:
        PrerequisiteError: a program is not installed.
        BrowserError: it does not start.
    """
    program = find_browser()
    await asyncio.to_thread(trust_authorities, home, route.authority)
    argv = (
        *(program, *FLAGS, *(AS_ROOT if os.geteuid() == 0 else ())),
        *(f"--user-data-dir={home / 'profile'}", f"--host-resolver-rules={route.rules()}"),
        "about:blank",
    )
    try:
        async with running(argv, home) as browser:
            await browser.begin()
            yield browser
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


@contextlib.asynccontextmanager
async def running(argv: tuple[str, ...], home: Path) -> AsyncIterator[Browser]:
    """Run a browser that takes its commands by pipes; its home must be there."""
    (told, tell), (hear, said) = _pipe(), _pipe()
    launch = (sys.executable, "-I", "-c", _LAUNCH, str(told), str(said), *argv)
    environment = {"HOME": str(home), "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    try:
        process = await asyncio.create_subprocess_exec(
            *launch,
            env=environment,
            cwd=home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(told, said),
            start_new_session=True,
        )
    finally:
        os.close(told)
        os.close(said)
    browser = Browser(io.FileIO(tell, "wb"))
    listening = asyncio.create_task(browser.listen(hear))
    try:
        yield browser
    finally:
        browser.tell.close()  # it ends when its commands end
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _pipe() -> tuple[int, int]:
    """Make a pipe whose ends are not the numbers that Chromium takes."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _LEAST_FD))
        os.close(end)
    return ends[0], ends[1]


@dataclass(slots=True)
class Browser:
    """One page of a browser. `answers` has every answer that the page got, in order."""

    tell: io.FileIO
    product: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)
    _ids: count[int] = field(default_factory=lambda: count(1))
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _methods: dict[str, str] = field(default_factory=dict)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)
    _session: str | None = None

    async def begin(self) -> None:
        """Attach to a fresh page.

        Raises:
            BrowserError: it does not answer.
        """
        self.product = str((await self.call("Browser.getVersion", timeout_s=_START_S))["product"])
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = str(attached["sessionId"])
        for domain in ("Page", "Network"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded.

        Raises:
            BrowserError: the browser refuses it, such as for its certificate.
        """
        self._loaded.clear()
        found = await self.call("Page.navigate", url=url)
        if found.get("errorText"):
            raise BrowserError(f"the browser refuses the page: {found['errorText']}", where=url)
        try:
            async with asyncio.timeout(_CALL_S):
                await self._loaded.wait()
        except TimeoutError as error:
            raise BrowserError(f"not loaded within {_CALL_S:g} s", where=url) from error

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page.

        Raises:
            BrowserError: it raises an error.
        """
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            # The expression may hold what was typed in.
            raise BrowserError("the page raised an error", where="page")
        return found["result"].get("value")

    async def fill(self, selector: str, text: str) -> None:
        """Type into a field, in the place of what it has."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        await self.call("Input.insertText", text=text)

    async def until_not(self, expression: str, values: Collection[str]) -> str:
        """Wait until an expression is none of these values; return it.

        Raises:
            BrowserError: it stays one of them.
        """
        try:
            async with asyncio.timeout(_CALL_S):
                # What the page does tells nobody.
                while (seen := str(await self.evaluate(expression))) in values:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise BrowserError(f"no change within {_CALL_S:g} s", where=expression) from error
        return seen

    async def call(
        self, method: str, *, timeout_s: float = _CALL_S, **parameters: object
    ) -> dict[str, Any]:
        """Give one command of the protocol; return its result.

        Raises:
            BrowserError: it refuses, does not answer, or has ended.
        """
        number = next(self._ids)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.to_thread(self.tell.write, json.dumps(message).encode() + b"\0")
                return await answer
        except TimeoutError as error:
            raise BrowserError(f"no answer within {timeout_s:g} s", where=method) from error
        except (BrokenPipeError, ValueError) as error:  # its end of the pipe is closed, or ours
            raise BrowserError("the browser has ended", where=method) from error
        finally:
            del self._waiting[number]

    async def listen(self, hear: int) -> None:
        """Read messages until the browser has closed its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MAX_MESSAGE)
        with os.fdopen(hear, "rb") as file:
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), file
            )
            try:
                while True:
                    message = await reader.readuntil(b"\0")
                    self._take(json.loads(message[:-1]))
            except asyncio.IncompleteReadError:
                self._end()
            finally:
                transport.close()

    def _end(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BrowserError("the browser has ended", where="browser"))

    def _take(self, message: dict[str, Any]) -> None:
        parameters: dict[str, Any] = message.get("params", {})
        match message.get("method"):
            case None:
                self._settle(message)
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self._methods[parameters["requestId"]] = parameters["request"]["method"]
            case "Network.responseReceived":
                response = parameters["response"]
                self.answers.append(
                    {
                        "url": response["url"],
                        "method": self._methods.get(parameters["requestId"], "GET"),
                        "status": response["status"],
                        "security": response.get("securityDetails", {}),
                    }
                )

    def _settle(self, message: dict[str, Any]) -> None:
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(BrowserError(str(message["error"]["message"])[:200], where="CDP"))
        else:
            answer.set_result(message["result"])
