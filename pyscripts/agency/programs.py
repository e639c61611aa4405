"""Running other programs: argv lists only, bounded in time, output, and, where asked, memory.

argv ─▶ [prlimit] ─▶ program, leader of a session of its own
          │ stdout, stderr: read as they come, up to Bounds
          ├─ ends in time, within its bounds ─▶ Finished
          └─ else its whole session is killed ─▶ ProgramError
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agency.errors import AgencyError, PrerequisiteError

# Where a checkout's set-up puts the programs that it builds; of an installed package, no place.
_OF_CHECKOUT = Path(__file__).resolve().parents[2] / ".tools" / "bin"
_BLOCK = 64 * 1024
_MIB = 1024**2


class ProgramError(AgencyError):
    """Failure of a program: a bad exit status, or no end in time.

    `stderr` is what a program said that did not end in time.
    """

    stderr: bytes = b""


class TooMuchOutputError(ProgramError):
    """A program that said more than its bound; it was ended."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one program.

    Attributes:
        output_bytes: Most that it may write to standard output.
        error_bytes: Most that it may write to standard error.
        memory_bytes: Address space of each of its processes (RLIMIT_AS); None for no limit.
        data_bytes: Writable memory of each of its processes (RLIMIT_DATA); address space that is
            only reserved, as by Node.js, does not count. None for no limit.
        file_bytes: Size of each file that it writes (RLIMIT_FSIZE); None for no limit.
        processor_s: Processor time of each of its processes (RLIMIT_CPU); None for no limit.
    """

    output_bytes: int = 16 * _MIB
    error_bytes: int = _MIB
    memory_bytes: int | None = None
    data_bytes: int | None = None
    file_bytes: int | None = None
    processor_s: int | None = None

    def prefix(self) -> tuple[str, ...]:
        """Return the argv of prlimit that sets the kernel's limits; empty without limits.

        Raises:
            PrerequisiteError: there are limits, and prlimit is not installed.
        """
        limits = {
            "as": self.memory_bytes,
            "data": self.data_bytes,
            "fsize": self.file_bytes,
            "cpu": self.processor_s,
        }
        wanted = tuple(f"--{name}={value}" for name, value in limits.items() if value is not None)
        if not wanted:
            return ()
        return (find_program("prlimit", hint="install util-linux"), *wanted, "--")


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Account:
    """User and group that run a program, without further groups."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Exit status (or the negative number of a signal) and output of a program that ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def reason(self) -> str:
        """Line with the reason: git's first `fatal:` (advice follows it), else the last."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        fatal = [line for line in lines if line.startswith("fatal: ")]
        return next(iter([*fatal, *lines[-1:]]), "no message")


def find_program(name: str, *, hint: str) -> str:
    """Find a program on PATH, or among the tools that set-up built for this checkout.

    Raises:
        PrerequisiteError: it is not installed; `hint` says how to get it.
    """
    found = shutil.which(name) or shutil.which(name, path=str(_OF_CHECKOUT))
    if found is None:
        raise _not_installed(name, hint)
    return found


def run_program(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> bytes:
    """Run `argv` and return its standard output; secrets may travel by `stdin`, never by `argv`.

    Raises:
        ProgramError: a non-zero exit (with the line of standard error that says why), a time-out,
            or more output than its bounds allow.
        PrerequisiteError: the program does not exist.
    """
    finished = run_to_end(
        argv, timeout=timeout, stdin=stdin, env=env, cwd=cwd, hint=hint, bounds=bounds
    )
    if finished.status != 0:
        message = f"exit status {finished.status}: {finished.reason}"
        raise ProgramError(message, where=argv[0], hint=hint)
    return finished.stdout


def run_to_end(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
    account: Account | None = None,
    sink: Callable[[bytes], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run `argv` to its end, whatever its exit status.

    Args:
        timeout: Seconds until it is ended, with all that it started.
        account: User that runs it, with the umask 077; None for this one.
        sink: Takes standard output as it comes, without a bound, in place of `Finished.stdout`.
        pass_fds: Descriptors that it inherits.

    Raises:
        ProgramError: no end in time, or more output than its bounds allow.
        PrerequisiteError: the program does not exist.
    """
    deadline = time.monotonic() + timeout
    with _running(argv, stdin, env, cwd, hint, bounds, account, pass_fds) as process:
        out = _Stream("standard output", bounds.output_bytes, sink)
        err = _Stream("standard error", bounds.error_bytes)
        try:
            _exchange(process, stdin or b"", {"stdout": out, "stderr": err}, deadline)
            status = process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired as error:
            late = ProgramError(f"no end after {timeout:g} s", where=argv[0], hint=hint)
            late.stderr = bytes(err.kept)
            raise late from error
        except _OverflowError as error:
            raise TooMuchOutputError(str(error), where=argv[0], hint=hint) from error
    return Finished(status, bytes(out.kept), bytes(err.kept))


@contextlib.contextmanager
def _running(
    argv: Sequence[str],
    stdin: bytes | None,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    hint: str | None,
    bounds: Bounds,
    account: Account | None,
    pass_fds: Sequence[int],
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; if the block fails, kill it with its session. It is reaped in any case."""
    prefix = bounds.prefix()
    if prefix and shutil.which(argv[0], path=(env or os.environ).get("PATH")) is None:
        raise _not_installed(argv[0], hint)
    try:
        process = subprocess.Popen(
            [*prefix, *argv],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077 if account else -1,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise _not_installed(argv[0], hint) from error
    except OSError as error:
        message = f"cannot be started: {error.strerror or error}"
        raise ProgramError(message, where=argv[0], hint=hint) from error
    try:
        yield process
    except BaseException:
        # The leader is not reaped yet, so the session's id is still its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait()


def _not_installed(name: str, hint: str | None) -> PrerequisiteError:
    return PrerequisiteError(f"the program {name!r} is not installed", where="PATH", hint=hint)


class _OverflowError(Exception):
    """More output than allowed."""


@dataclass(slots=True)
class _Stream:
    """One of a program's outputs, as far as it was read."""

    name: str
    most: int
    sink: Callable[[bytes], None] | None = None
    kept: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> None:
        if self.sink is not None:
            self.sink(chunk)
            return
        self.kept += chunk
        if len(self.kept) > self.most:
            raise _OverflowError(f"more than {self.most} bytes on its {self.name}")


def _exchange(
    process: subprocess.Popen[bytes], data: bytes, streams: Mapping[str, _Stream], deadline: float
) -> None:
    """Write `data` to the program and read its streams, until it has closed them."""
    with selectors.DefaultSelector() as selector:
        for name, stream in streams.items():
            selector.register(getattr(process, name), selectors.EVENT_READ, stream)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        left = memoryview(data)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in ready:
                if isinstance(key.data, _Stream):
                    _read(selector, key, key.data)
                else:
                    left = _write(selector, process.stdin, left)


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey, stream: _Stream) -> None:
    chunk = os.read(key.fd, _BLOCK)
    if chunk:
        stream.take(chunk)
    else:
        selector.unregister(key.fileobj)


def _write(
    selector: selectors.BaseSelector, stdin: IO[bytes] | None, left: memoryview
) -> memoryview:
    """Write what the pipe takes; return the rest. A program need not read its input."""
    if stdin is None:
        return left
    try:
        left = left[os.write(stdin.fileno(), left[:_BLOCK]) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        left = left[:0]
    if not left:
        selector.unregister(stdin)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
    return left
