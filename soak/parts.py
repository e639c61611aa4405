"""The parts of an agency as processes, which may be ended and paused at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from soak.journal import Journal


class SoakError(Exception):
    """The run itself cannot go on."""


class NotWellError(SoakError):
    """A part does not come up after what was done to it."""


@dataclass(slots=True)
class Part:
    """One part: its command, and how it is known to be well.

    Like systemd with Restart=always, `watch` starts it again when it ends by itself.
    """

    name: str
    argv: list[str]
    env: Mapping[str, str]
    place: Path
    journal: Journal
    url: str = ""  # of its health
    ready: Callable[[], bool] | None = None
    term: signal.Signals = signal.SIGTERM
    group: bool = False  # kill -9 takes the children, too
    wait_s: float = 120.0
    starts: int = 0
    ended_itself: list[str] = field(default_factory=list)
    wanted: bool = False
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file that the part writes."""
        return self.place / f"{self.name}.log"

    def launch(self) -> None:
        """Start the process, without waiting for it."""
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(self.env),
                cwd=self.place,
                start_new_session=True,
            )
        self.starts += 1
        self.wanted = True

    async def well(self) -> None:
        """Wait until the part is well.

        Raises:
            NotWellError: it is not, for too long.
        """
        deadline = time.monotonic() + self.wait_s
        while not await self._is_well():
            if time.monotonic() > deadline:
                raise NotWellError(
                    f"{self.name} is not well after {self.wait_s:g} s: see {self.log}"
                )
            self.restart_if_ended()
            await asyncio.sleep(0.1)

    async def _is_well(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        if self.ready is not None:
            return self.ready()
        try:
            limit = aiohttp.ClientTimeout(total=5)
            async with aiohttp.ClientSession(timeout=limit) as http, http.get(self.url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def restart_if_ended(self) -> None:
        """Start the process again if it ended although nobody asked it to."""
        if not self.wanted or self._process is None or self._process.poll() is None:
            return
        self.ended_itself.append(f"status {self._process.returncode}")
        self.journal.note("ended by itself", part=self.name, status=self._process.returncode)
        time.sleep(0.2)
        self.launch()

    async def end(self, how: signal.Signals) -> None:
        """Send a signal and wait for the end; after 30 s the process is killed."""
        self.wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self._signal(how)
        deadline = time.monotonic() + 30
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self.journal.note("killed after 30 s", part=self.name)
                self._signal(signal.SIGKILL)
            await asyncio.sleep(0.05)

    async def pause(self, seconds: float) -> None:
        """Stop the process for a while, as a paused machine or a stalled disk does."""
        self._signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        if self.group and number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)


def pids_of(place: Path, word: str) -> list[int]:
    """List the agents' processes of this run whose command has `word` in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = any(str(place).encode() in each and word.encode() in each for each in argv)
        if mine and b"agent" in argv:
            found.append(int(entry.name))
    return found
