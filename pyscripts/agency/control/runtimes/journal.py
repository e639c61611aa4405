"""The end of a unit's journal, read with journalctl."""

from __future__ import annotations

import asyncio
import json
import logging

_TIMEOUT_S = 5.0
_MAX_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


async def tail(unit: str, lines: int, *, invocation: str | None = None) -> tuple[str, ...]:
    """The last lines that a unit wrote, oldest first; of one invocation where it is given.

    Empty when there are none, or when this user may not read the journal (then it is logged).
    """
    argv = [
        *("journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE"),
        *(f"--unit={unit}", f"--lines={lines}"),
        *([f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else []),
    ]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        _log.warning("the journal cannot be read: %s", error.strerror)
        return ()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        _log.warning("the journal of %s did not come within %g s", unit, _TIMEOUT_S)
        return ()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return tuple(_messages(out[-_MAX_BYTES:]))


def _messages(output: bytes) -> list[str]:
    """The messages of journalctl's JSON lines; one that is not text comes as a list of bytes."""
    found = []
    for line in output.splitlines():
        try:
            message = json.loads(line).get("MESSAGE")
        except (ValueError, AttributeError):
            continue  # the first line may be cut
        if isinstance(message, list):
            message = bytes(message).decode(errors="replace")
        if isinstance(message, str):
            found.append(message)
    return found
