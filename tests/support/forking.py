"""Programs of ours that begin without importing anything: forks of a process that has it all.

    test ──request, descriptors──▶ server (one a pytest worker, single-threaded) ──fork──▶ program
         ◀─────── pid, exit status ──┘

`python -m agency` takes most of a second of processor time before its first own line, and the
integration tests start hundreds. A fork runs the same code in a process of its own, with its own
environment, descriptors and signals. It differs from an exec in /proc/PID/cmdline and
/proc/PID/environ: a test about those, or about the start itself, starts Python as people do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PRELOADED = (
    "agency.cli",
    "agency.control.cli",
    "agency.control.entrance.command",
    "agency.control.entrance.do",
    "agency.control.entrance.tokens",
    "agency.control.service.serving",
    "agency.control.room",
    "aiosqlite",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
_SIZE = 256 * 1024


class Server:
    """The server of this pytest worker, as its tests see it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)

    def fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Start a program; returns its pid."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            while "pid" not in (told := self._told()):
                pass
            pid = int(told["pid"])
            self._ended.pop(pid, None)  # of the one that had this number before it
            return pid

    def status(self, pid: int, timeout: float | None) -> int | None:
        """The exit status of a program as subprocess gives it; None if it has not ended by then."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                while pid not in self._ended and select.select([self._socket], [], [], 0)[0]:
                    self._told()
                if pid in self._ended:
                    return self._ended[pid]
            left = 0.05 if until is None else min(0.05, until - time.monotonic())
            if left <= 0:
                return None
            select.select([self._socket], [], [], left)

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._socket.recv(_SIZE) or b"null")
        assert told is not None, "the server of forks ended"
        if "ended" in told:
            self._ended[told["ended"]] = told["status"]
        return told


@functools.cache
def server() -> Server:
    """The server of this process, started when it is first needed."""
    return Server()


class Forked(subprocess.Popen[bytes]):
    """A program that was forked; used as what subprocess starts."""

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
        stdin: IO[bytes] | int | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._child_created = False
        self.args = [sys.executable, "-m", module, *words]
        self.stdin = self.stdout = self.stderr = None
        self.returncode: Any = None
        with Path(os.devnull).open("rb") as nothing:
            given = nothing if stdin is None else stdin
            request = {
                "module": module,
                "words": list(words),
                "env": dict(env),
                "cwd": str(cwd or Path.cwd()),
            }
            files = (given, stdout, stderr)
            numbers = [each if isinstance(each, int) else each.fileno() for each in files]
            self.pid = server().fork(request, numbers)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = server().status(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = server().status(self.pid, timeout)
        if self.returncode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return int(self.returncode)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


def run(
    *words: str,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",  # noqa: A002 - as subprocess calls it
    timeout: float = 60,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `agency WORDS` to its end, as subprocess.run with captured output does."""
    memory = [os.memfd_create("output") for _ in range(3)]
    stdin, stdout, stderr = memory
    try:
        os.write(stdin, input)
        os.lseek(stdin, 0, os.SEEK_SET)
        given = dict(os.environ if env is None else env)
        process = Forked(
            "agency", words, env=given, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
        )
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        said = [os.pread(each, os.fstat(each).st_size, 0) for each in (stdout, stderr)]
        return subprocess.CompletedProcess(process.args, status, *said)
    finally:
        for each in memory:
            os.close(each)


def serve(descriptor: int) -> None:
    """Fork on request until the test's end of the socket is closed."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=descriptor)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    while True:
        ready, _, _ = select.select([asked, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(asked)
        if asked in ready:
            message, descriptors, _, _ = socket.recv_fds(asked, _SIZE, 8)
            if not message:
                return
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                asked.close()
                os.close(woken)
                os.close(wake)
                _become(json.loads(message), descriptors)
            asked.send(json.dumps({"pid": pid}).encode())
            for each in descriptors:
                os.close(each)


def _reap(asked: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended = {"ended": pid, "status": os.waitstatus_to_exitcode(status)}
        with contextlib.suppress(OSError):
            asked.send(json.dumps(ended).encode())


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Become the program; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, each in enumerate(descriptors):
            os.dup2(each, number)
        for each in descriptors:
            os.close(each)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.argv = ["agency", *request["words"]]
        status = _run(request["module"])
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _run(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


if __name__ == "__main__":
    serve(int(sys.argv[1]))
