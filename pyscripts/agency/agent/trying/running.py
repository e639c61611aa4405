"""Running of a trial: a terminal, a place that is removed, and a clean end whatever ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agency.agent.trying.plan import RealModel
from agency.agent.trying.preparing import Wanted, policy_of
from agency.agent.trying.stage import Cast
from agency.agent.trying.terminal import Lines, Terminal
from agency.agent.trying.trial import Trial
from agency.clock import Clock
from agency.commandline import console
from agency.errors import UsageError
from agency.secrets import SecretValue

_MAX_TASK = 256 * 1024

_PREFIX, _RANDOM = "agency-try-", 8 * "x"  # as tempfile makes a name
_SHORT = "/tmp"  # noqa: S108 - the directory made there is new, and nobody else's
_MOST_OF_A_SOCKET = 107


def run_trial(
    wanted: Wanted,
    tasks: Sequence[str],
    real: RealModel | None,
    secrets: dict[str, SecretValue],
    tokens: int,
    *,
    key_from_stdin: bool,
    as_json: bool,
) -> Trial:
    """Run a trial to its end; return what came of it.

    Raises:
        AgencyError: it cannot begin. KeyboardInterrupt: it was ended.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # the terminal tells what happens
    terminal = _terminal(as_json=as_json)
    typed = _typed(terminal, tasks, key_from_stdin=key_from_stdin)
    # So that `agency` and its Python are found, also where nothing is activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(
        prefix=_PREFIX, dir=short_enough(tempfile.gettempdir())
    ) as name:
        place = Path(name)
        document, script = policy_of(wanted, place, ask=terminal.lines is not None)
        trial = Trial(Cast(document, script, real, secrets, tokens), terminal, Clock())
        asyncio.run(_until_signal(trial.run(place, typed)))
    return trial


def short_enough(directory: str) -> str:
    """Return the directory for temporary files, or /tmp where a socket below it has no place.

    Source: unix(7): the path of a socket has at most 107 bytes.
    """
    longest = len(os.fsencode(directory)) + len(f"/{_PREFIX}{_RANDOM}/proxy.sock")
    return directory if longest <= _MOST_OF_A_SOCKET else _SHORT


async def _until_signal(work: Any) -> None:
    """Run; a SIGTERM or the end of the terminal counts as Ctrl-C, so that everything is ended.

    Raises:
        KeyboardInterrupt: it was ended so.
    """
    doing = asyncio.ensure_future(work)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        if not ended.is_set():  # a second one must not cut the ending short
            ended.set()
            doing.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        await doing
    except asyncio.CancelledError:
        if ended.is_set():
            raise KeyboardInterrupt from None
        raise


def _terminal(*, as_json: bool) -> Terminal:
    shown = console(stderr=as_json)
    attended = sys.stdin.isatty() and shown.file.isatty()
    return Terminal(shown, Lines(sys.stdin.fileno()) if attended else None, quiet=as_json)


def _typed(terminal: Terminal, tasks: Sequence[str], *, key_from_stdin: bool) -> Sequence[str]:
    """Return the tasks that are known before it begins; none if a person types them."""
    if tasks or terminal.lines is not None:
        return tasks
    text = "" if key_from_stdin or sys.stdin.isatty() else sys.stdin.read(_MAX_TASK).strip()
    if not text:
        raise UsageError(
            "there is no task", hint="give --task, write one to standard input, or use a terminal"
        )
    return (text,)
