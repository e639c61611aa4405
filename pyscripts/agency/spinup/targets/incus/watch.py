"""Noticing that a guest ends by itself, and explaining a step that failed because of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from agency.errors import AgencyError
from agency.guests import Guest
from agency.machine import MachineError, units
from agency.spinup.record import Recorder
from agency.transcript import CONTROL_UNIT, HOMESERVER_UNIT

_WATCH_S = 1.0
_EXPLAIN_S = 15.0
_ANSWER_S = 5.0
_LOG_LINES = 10
_EXPLAINED = (CONTROL_UNIT, HOMESERVER_UNIT)


@dataclass(slots=True)
class Watch:
    """Watches one guest that runs; `awake` is false while it may be down."""

    guest: Guest
    recorder: Recorder
    awake: bool = True

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Notice nothing within the block, in which the guest is rebooted."""
        self.awake = False
        try:
            yield
        finally:
            self.awake = True

    async def guard(self) -> None:
        """Return never; raise when the guest ends by itself.

        Raises:
            MachineError: it has ended.
        """
        while True:
            await asyncio.sleep(_WATCH_S)
            await self.refuse_ended()

    async def refuse_ended(self) -> None:
        """Look whether the guest runs.

        Raises:
            MachineError: it does not, though nobody stopped it.
        """
        if not self.awake:
            return
        seen = await self.guest.incus.instance(self.guest.name)
        if self.awake and not (seen is not None and seen.running):
            state = seen.status if seen else "gone"
            raise MachineError(f"the guest ended by itself: {state}", where=self.guest.name)

    async def explain(self, error: BaseException) -> None:
        """Have the record hold the end of the agency's journals beside an error without a log.

        Raises:
            MachineError: the step failed because the guest has ended; Incus says so a bit later.
        """
        if not getattr(error, "log_tail", ()):
            lines = await self.journals()
            self.recorder.log_tail = lambda: lines
        if isinstance(error, asyncio.CancelledError):
            return
        with contextlib.suppress(TimeoutError):  # it hangs: then that is not why
            async with asyncio.timeout(_EXPLAIN_S):
                while self.awake and not await self._answers():
                    try:
                        await self.refuse_ended()
                    except MachineError as ended:
                        raise ended from error
                    await asyncio.sleep(_WATCH_S / 4)

    async def journals(self) -> tuple[str, ...]:
        """Read the end of what the agency's units said, where the guest can still be asked."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(_EXPLAIN_S):
                for unit in dict.fromkeys([*await units.failed(self.guest), *_EXPLAINED]):
                    journal = await units.journal(self.guest, unit, _LOG_LINES)
                    lines += [f"{unit}: {line}" for line in journal]
        except (AgencyError, TimeoutError) as error:
            lines.append(f"the guest cannot be asked: {error}")
        return tuple(lines)

    async def _answers(self) -> bool:
        with contextlib.suppress(AgencyError):
            return (await self.guest.look("true", timeout_s=_ANSWER_S)).exit_status == 0
        return False
