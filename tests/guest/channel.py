"""Many commands in a machine over one program that stays open.

Starting a client for each command costs more than most commands. Here one `incus exec` (or whatever
else reaches the machine) runs a small loop in it; commands and results travel framed over its
standard streams, one at a time. Plain synchronous code, for a test suite.
"""

from __future__ import annotations

import os
import selectors
import shlex
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from agency.errors import AgencyError

MAX_OUTPUT = 4 * 1024 * 1024

_HEADER = struct.Struct("!II")  # length of the text, its time in s
_RESULT = struct.Struct("!iII")  # exit status, length of stdout, length of stderr
_GRACE_S = 10.0
_STOP_S = 5.0
_CHUNK = 64 * 1024

TIMED_OUT = 124  # the exit status of a command that took too long, as timeout(1) has it

# What runs in the machine: any Python 3. Output goes to files, so that a program which a command
# leaves in the background holds nothing up. A command's whole process group ends with its time.
# The kernel says when a command has ended: Popen.wait with a time looks only every 50 ms.
LOOP = f"""
import os, select, signal, struct, subprocess, sys, tempfile
source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
header, result = struct.Struct({_HEADER.format!r}), struct.Struct({_RESULT.format!r})
def whole(size):
    data = source.read(size)
    if len(data) < size:
        sys.exit(0)
    return data
def ended(child, seconds):
    try:
        process = os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        return child.wait(seconds)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return child.wait(None if poll.poll(seconds * 1000) else 0)
    finally:
        os.close(process)
while True:
    length, seconds = header.unpack(whole(header.size))
    text = whole(length)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=err, start_new_session=True)
        try:
            status = ended(child, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status = {TIMED_OUT}
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read({MAX_OUTPUT}))
    sink.write(result.pack(status, *map(len, texts)) + b"".join(texts))
    sink.flush()
"""


class ChannelError(AgencyError):
    """The machine could not be reached, or the way to it broke."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; a negative status is a signal. Output beyond MAX_OUTPUT is cut."""

    status: int
    stdout: bytes
    stderr: bytes


class Channel:
    """One open way to a machine; a context manager.

    `reach` is the program, with its arguments, that runs further arguments in the machine, such as
    incus exec NAME --; `python` is the machine's interpreter. With `one_line` it hands them to a
    shell as one line, as ssh does, and they are quoted for that.
    """

    def __init__(
        self, reach: Sequence[str], *, python: str = "python3", one_line: bool = False
    ) -> None:
        self._where = " ".join(reach[:3])
        loop = (python, "-I", "-u", "-c", LOOP)
        try:
            self._process = subprocess.Popen(
                [*reach, *((shlex.join(loop),) if one_line else loop)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except OSError as error:
            raise ChannelError(f"cannot be run: {error.strerror}", where=self._where) from error
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe(self._process.stdout), selectors.EVENT_READ)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, text: str, *, timeout_s: int = 120) -> Ran:
        """Run a text as the machine's /bin/sh understands it, as root, without input.

        One that takes longer is killed with what it started, and has the status TIMED_OUT.

        Raises:
            ChannelError: the way to the machine is gone.
        """
        data = text.encode()
        deadline = time.monotonic() + timeout_s + _GRACE_S
        try:
            self._write(_HEADER.pack(len(data), timeout_s) + data)
        except OSError as error:
            raise self._broken("is closed") from error
        status, out, err = _RESULT.unpack(self._read(_RESULT.size, deadline))
        return Ran(status, self._read(out, deadline), self._read(err, deadline))

    def close(self) -> None:
        """End the loop in the machine and the program that leads there."""
        self._selector.close()
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()
        self._pipe(self._process.stderr).close()

    def _write(self, data: bytes) -> None:
        pipe = self._pipe(self._process.stdin)
        view = memoryview(data)
        while view:
            view = view[os.write(pipe.fileno(), view) :]

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        stdout = self._pipe(self._process.stdout)
        while len(data) < size:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise self._broken("does not answer")
            chunk = os.read(stdout.fileno(), min(_CHUNK, size - len(data)))
            if not chunk:
                raise self._broken("ended")
            data += chunk
        return bytes(data)

    def _broken(self, what: str) -> ChannelError:
        """The error, with the last that the program said; it is of no more use."""
        self._process.kill()
        self._process.wait()
        said = self._pipe(self._process.stderr).read(_CHUNK).decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        return ChannelError(f"the way to the machine {what}: {last}", where=self._where)

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise RuntimeError("the channel has no such stream")
        return stream
