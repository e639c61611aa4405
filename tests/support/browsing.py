"""The agent's own browser as a process, and a client that drives it as a tool server does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from working import within


@dataclass
class Browser:
    """The program of one agent, its home, and the Chromium that it runs."""

    home: Path
    settings: Path
    process: subprocess.Popen[bytes]
    said: Path

    @property
    def socket(self) -> Path:
        return self.home / ".local/state/agency-browser/cdp.sock"

    @property
    def profile(self) -> Path:
        return self.home / ".local/state/agency-browser/profile"

    @property
    def downloads(self) -> Path:
        return self.home / "agent-space" / "downloads"

    def log(self) -> str:
        return self.said.read_text()

    def processes(self) -> set[int]:
        """All processes of its Chromium, by their home or the profile that they name."""
        found = set()
        signs = {"cmdline": str(self.profile), "environ": f"HOME={self.home}\0"}
        for entry in Path("/proc").glob("[0-9]*"):
            for name, sign in signs.items():
                with contextlib.suppress(OSError):
                    if sign.encode() in (entry / name).read_bytes():
                        found.add(int(entry.name))
        return found

    @property
    def pid(self) -> int:
        """The Chromium that was started last."""
        lines = [
            json.loads(line) for line in self.log().splitlines() if '"the browser runs"' in line
        ]
        return int(lines[-1]["pid"])

    def up(self, times: int = 1) -> int:
        """Wait until it runs for the so manieth time; return its pid."""
        within(lambda: self.log().count('"the browser runs"') >= times, self.log, 40)
        return self.pid


def settings_file(directory: Path, home: Path, **browser: Any) -> Path:
    """Write the settings of the agent pm; root has no sandbox."""
    directory.mkdir(exist_ok=True)
    told = {"sandbox": os.geteuid() != 0, **browser}
    (directory / "pm.json").write_text(
        json.dumps({"name": "pm", "role": "reader", "home": str(home), "browser": told})
    )
    return directory


def interpreter_for(uid: int) -> str | None:
    """A Python of this version with which another user may start the agency; None without one.

    There is none where the checkout lies in a home that is closed to others.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            done = subprocess.run(
                [found, "-c", "import agency.cli"],
                env=_environment(),
                user=uid,
                group=uid,
                cwd="/",
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return found
    return None


def _environment() -> dict[str, str]:
    libraries = os.pathsep.join(each for each in sys.path if each.startswith("/"))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": libraries}


def command(*words: str, uid: int | None = None) -> dict[str, Any]:
    """How a command of agency is started, as this user or as another."""
    if uid is None:
        return {"args": [sys.executable, "-m", "agency", *words]}
    python = interpreter_for(uid)
    assert python is not None
    argv = [python, "-m", "agency", *words]
    return {
        "args": argv,
        "env": _environment(),
        "user": uid,
        "group": uid,
        "extra_groups": [],
        "cwd": "/",
    }


@contextmanager
def browser(place: Path, uid: int | None = None, **settings: Any) -> Iterator[Browser]:
    """Run the program until the end of the block, as this user or as another."""
    home = place / "home"
    (home / "agent-space").mkdir(parents=True, exist_ok=True)
    if uid is not None:
        for each in (home, home / "agent-space"):
            os.chown(each, uid, uid)
        settings = {"sandbox": True, **settings}
    directory = settings_file(place / "settings", home, **settings)
    said = place / "said"
    words = ("workspace", "browser", "pm", "--settings", str(directory))
    with said.open("wb") as log:
        process = subprocess.Popen(**command(*words, uid=uid), stdout=log, stderr=log)
    made = Browser(home, directory, process, said)
    try:
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
    within(lambda: not made.processes(), made.log)


@dataclass
class Driver:
    """Connection of a tool server."""

    ws: aiohttp.ClientWebSocketResponse
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self.number += 1
        number = self.number
        told = {"id": number, "method": method, "params": params}
        await self.ws.send_str(json.dumps(told | ({"sessionId": session} if session else {})))
        while True:
            async with asyncio.timeout(30):
                answer = json.loads((await self.ws.receive()).data)
            if answer.get("id") == number:
                return dict(answer)
            self.events.append(answer)

    async def page(self) -> str:
        """A session with a new page."""
        made = await self.call("Target.createTarget", url="about:blank")
        target = made["result"]["targetId"]
        answer = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        return str(answer["result"]["sessionId"])

    async def go(self, session: str, url: str) -> dict[str, Any]:
        """Navigate, and wait until the page is there."""
        answer = await self.call("Page.navigate", session, url=url)
        for _ in range(200):
            if await self.run(session, "document.readyState") == "complete":
                break
            await asyncio.sleep(0.05)
        return answer

    async def run(self, session: str, script: str) -> Any:
        """The value of a script."""
        params = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = await self.call("Runtime.evaluate", session, **params)
        assert "result" in answer, answer
        return answer["result"]["result"].get("value", answer["result"])


async def connect(path: Path) -> tuple[aiohttp.ClientSession, Driver]:
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path)))
    try:
        ws = await session.ws_connect("http://browser/", max_msg_size=0)
    except BaseException:
        await session.close()
        raise
    return session, Driver(ws)


def drive(path: Path, work: Any) -> Any:
    """Return the result of `work` on a connection, which ends with it."""

    async def driven() -> Any:
        session, driver = await connect(path)
        try:
            return await work(driver)
        finally:
            await driver.ws.close()
            await session.close()

    return asyncio.run(driven())
