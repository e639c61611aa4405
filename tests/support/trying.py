"""`agency agent try` as a person runs it: in a pseudo-terminal of 80 columns, or without one."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import yaml
from gatewaying import allow, server
from interrupting import sigint

ARGV = (sys.executable, "-m", "agency", "agent", "try")
SCRIPT = """\
scripted: v1
summary: Uses the tools of the tests.
rules:
  - when: '^echo (?P<what>.*)'
    steps:
      - {call: web/echo, arguments: {text: "${what}"}}
      - {say: "It said: ${result}"}
  - when: '^erase (?P<what>.*)'
    steps:
      - {call: web/erase, arguments: {text: "${what}"}}
      - {say: "The end: ${result}"}
  - when: '^fetch'
    steps:
      - {call: web/fetch, arguments: {url: "https://example.org/"}}
      - {say: "The end: ${result}"}
  - steps: [{say: "You said: ${task}"}]
"""


def make_files(place: Path) -> tuple[Path, Path]:
    """A Gosuto that allows echo and asks for erase, and the script for it."""
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "trial"},
        "approvals": {"approvers": ["@you:try.invalid"]},
        "mcpServers": {"web": server("good", place / "web")},
        "capabilities": {"echo": allow("web/echo"), "erase": allow("web/erase", "ask")},
    }
    policy, script = place / "policy.yaml", place / "script.yaml"
    policy.write_text(yaml.safe_dump(told))
    script.write_text(SCRIPT)
    return policy, script


def environment(place: Path, **more: str) -> dict[str, str]:
    """An environment of its own: TMPDIR is where a trial keeps what it keeps."""
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "TMPDIR": str(temporary),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        **more,
    }


def without_terminal(
    place: Path, *arguments: str, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ARGV, *arguments],
        env=environment(place, **more),
        cwd=place,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


@dataclass
class Seated:
    """A person before a trial: what they read so far, and what they type."""

    process: subprocess.Popen[bytes]
    descriptor: int
    place: Path
    read: str = ""
    _seen: int = field(default=0)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, text: str, within_s: float = 30) -> None:
        """Read on until a text comes that was not read before."""
        until = time.monotonic() + within_s
        while (at := self.read.find(text, self._seen)) < 0:
            assert time.monotonic() < until, self.read
            assert self._more(0.2) or self.process.poll() is None, self.read
        self._seen = at + len(text)

    def end(self, within_s: float = 20) -> int:
        """Read until the program ends; return its status."""
        until = time.monotonic() + within_s
        while self.process.poll() is None:
            assert time.monotonic() < until, self.read
            self._more(0.1)
        while self._more(0.1):
            pass
        return self.process.returncode

    def _more(self, within_s: float) -> bool:
        if not select.select([self.descriptor], [], [], within_s)[0]:
            return False
        try:
            chunk = os.read(self.descriptor, 65536)
        except OSError:  # the other side is closed
            return False
        self.read += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)

    def children(self) -> list[int]:
        """All processes below it."""
        found, look = [], [self.process.pid]
        while look:
            pid = look.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    look += map(int, (task / "children").read_text().split())
            found.append(pid)
        return found[1:]


@contextlib.contextmanager
def seated(place: Path, *arguments: str, columns: int = 80) -> Iterator[Seated]:
    """Run a trial in a terminal of its own."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with sigint():
        process = subprocess.Popen(
            ["setsid", "--ctty", *ARGV, *arguments],
            env=environment(place),
            cwd=place,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    os.close(theirs)
    try:
        yield Seated(process, ours, place)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)


def left(place: Path) -> list[str]:
    """What a trial left behind in its TMPDIR."""
    return sorted(each.name for each in (place / "tmp").iterdir())
