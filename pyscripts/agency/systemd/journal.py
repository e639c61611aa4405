"""End of a unit's journal, read with journalctl.

Only root and the group systemd-journal may read the journal of other users.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from agency.clock import iso
from agency.ending import ended
from agency.systemd.errors import JournalError

_TIMEOUT_S = 5.0
_MAX_BYTES = 1024 * 1024
_MAX_ERROR_BYTES = 4096
_CHUNK = 64 * 1024
_MICRO = 1e-6
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_PID"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: time (seconds since the epoch), writer, and message, as it was written."""

    message: str
    time: float | None = None
    identifier: str = ""
    pid: str = ""

    @property
    def line(self) -> str:
        """Entry as one line of a log: time, writer, message."""
        when = iso(self.time) if self.time is not None else "-"
        writer = f"{self.identifier or '-'}[{self.pid}]" if self.pid else self.identifier or "-"
        return f"{when} {writer}: {self.message}"


async def tail(
    unit: str, lines: int, *, invocation: str | None = None, this_boot: bool = False
) -> tuple[Entry, ...]:
    """Read the last entries of a unit, oldest first, of at most 1 MiB; none if there are none.

    `invocation` limits them to one run of the unit, `this_boot` to those since the machine's start.

    Raises:
        JournalError: journalctl is missing, fails, or takes longer than 5 s.
    """
    argv = [
        *("journalctl", "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}"),
        *("--all", f"--unit={unit}", f"--lines={lines}"),  # without --all, long ones are left out
        *(["--boot"] if this_boot else []),
        *([f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else []),
    ]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise JournalError(f"the journal cannot be read: {error.strerror}", where=unit) from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, said = await asyncio.gather(
                _end_of(process.stdout, _MAX_BYTES), _end_of(process.stderr, _MAX_ERROR_BYTES)
            )
            status = await process.wait()
    except TimeoutError as error:
        raise JournalError(
            f"the journal did not come within {_TIMEOUT_S:g} s", where=unit
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await ended(process)
    if status != 0:
        reason = (said.decode(errors="replace").strip().splitlines() or [f"exit status {status}"])[
            -1
        ]
        raise JournalError(
            f"the journal cannot be read: {reason}",
            where=unit,
            hint="is this user in the group systemd-journal?",
        )
    return tuple(entries(out))


async def _end_of(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Read the last bytes of a stream, at most `most`."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept += chunk
        del kept[:-most]
    return bytes(kept)


def entries(output: bytes) -> list[Entry]:
    """Parse journalctl's JSON lines; leave out a first line that is cut."""
    found = []
    for line in output.splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if not isinstance(fields, dict) or fields.get("MESSAGE") is None:
            continue
        when = _text(fields.get("__REALTIME_TIMESTAMP"))
        found.append(
            Entry(
                message=_text(fields["MESSAGE"]),
                time=int(when) * _MICRO if when.isdecimal() else None,
                identifier=_text(fields.get("SYSLOG_IDENTIFIER")),
                pid=_text(fields.get("_PID")),
            )
        )
    return found


def _text(value: object) -> str:
    """Decode a field: text, or a list of bytes where it is not printable."""
    if isinstance(value, list):
        try:
            return bytes(value).decode(errors="replace")
        except (TypeError, ValueError):
            return ""  # a field that is there several times
    return value if isinstance(value, str) else ""
