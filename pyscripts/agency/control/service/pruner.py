"""The pruner: deletes old rows that are done, once an hour."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.config import Limits
from agency.control.store import pruning
from agency.store import Database

_log = logging.getLogger(__name__)

_EVERY_S = 3600.0


async def prune_often(database: Database, clock: Clock, limits: Limits) -> None:
    """Prune until cancelled."""
    keep_ms = pruning.keep_ms(limits.max_command_age_s)
    while True:
        try:
            before_ts = clock.now_ms() - keep_ms
            pruned = await database.write(partial(pruning.prune, before_ts=before_ts))
            _log.info("pruned", extra={"fields": {"inbox": pruned.inbox}})
        except SQLAlchemyError as error:
            _log.warning("cannot prune: %s", type(error).__name__)
        await asyncio.sleep(_EVERY_S)
