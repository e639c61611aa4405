"""The three standard streams as callers leave them: closed, full, without a reader, not UTF-8."""

from __future__ import annotations

import errno
import io
import os
import select
import sys

from agency.errors import AgencyError, PrerequisiteError

READER_GONE = 141  # 128 and SIGPIPE: what a shell reports for any program in this case
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def prepare_streams() -> None:
    """Put /dev/null in the place of closed streams, and make the others take any text.

    A file that is opened later would otherwise get the number of a closed stream.

    Raises:
        PrerequisiteError: standard output is closed, so that no answer could be given.
    """
    closed = [number for number in range(3) if _is_closed(number)]
    for number in closed:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if 1 in closed or sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        raise PrerequisiteError(
            "standard output is closed, and the answer could not be given; nothing was done",
            where="standard output",
            hint="redirect it to a file, or to /dev/null",
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def flush_output() -> None:
    """Write what is buffered, so that a failure is seen while it can be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


def reader_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError, AttributeError):  # of a test, or closed
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def silence_output() -> None:
    """Send what is still buffered to nobody, to keep Python's exit quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def settle_errors() -> None:
    """Write what standard error still has; where that fails, keep Python's exit quiet.

    Python would end with status 120 in place of ours.
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)


def unwritable_output(error: OSError) -> AgencyError | None:
    """Explain an error of writing the answer; None if it comes from elsewhere."""
    # An error of a file names the file.
    if error.errno not in _UNWRITABLE or error.filename is not None:
        return None
    silence_output()
    return PrerequisiteError(
        f"the answer cannot be written: {error.strerror}",
        where="standard output",
        hint="make room, or redirect it to another place",
    )
