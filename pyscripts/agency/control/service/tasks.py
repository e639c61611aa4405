"""Tasks of the control plane: the first that ends, ends it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from agency.errors import InternalError

_log = logging.getLogger(__name__)


async def first_end(tasks: list[asyncio.Task[Any]], starting: asyncio.Task[None]) -> None:
    """Wait until one of `tasks` ends, and raise its error.

    An error of `starting` is only logged: commands can still start the agents.
    """
    waiting = {*tasks, starting}
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is not None and task is starting:
                _log.error("agents could not be started again", exc_info=error)
            elif error is not None:
                _log.error("%s ended", task.get_name(), exc_info=error)
                raise InternalError(f"{task.get_name()} ended: {type(error).__name__}") from error
        if done - {starting}:
            return
