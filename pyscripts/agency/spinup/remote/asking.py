"""Run probes on another machine, by the program `agency observe` there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agency.errors import AgencyError
from agency.machine import Dialogue, Machine, MachineError
from agency.spinup.observe.commands import Answer
from agency.spinup.record import Evidence

_ASK_S = 120.0


@dataclass(slots=True)
class Observer:
    """The probes of one machine; its program stays open from probe to probe.

    `program` is `agency` as that machine knows it. After a reboot the program is started anew.
    """

    machine: Machine
    program: str
    _open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _dialogue: Dialogue | None = None

    async def ask(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        """Run a probe on the machine. Secrets in `told` travel by standard input alone.

        Raises:
            MachineError: the machine has no such program, or the probe cannot look.
        """
        line = json.dumps({"probe": probe, "told": dict(told or {})}).encode()
        fresh = self._dialogue is None
        try:
            said = await self._said(line)
        except AgencyError:
            await self.close()
            if fresh:
                raise
            said = await self._said(line)  # it ended since it was asked last, as by a reboot
        return self._evidence(said)

    async def close(self) -> None:
        """End the program."""
        self._dialogue = None
        await self._open.aclose()

    async def _said(self, line: bytes) -> bytes:
        if self._dialogue is None:
            argv = (self.program, "observe", "--follow")
            self._dialogue = await self._open.enter_async_context(self.machine.dialogue(*argv))
        return await self._dialogue.ask(line, timeout_s=_ASK_S)

    def _evidence(self, said: bytes) -> Evidence:
        try:
            answer = Answer.model_validate_json(said)
        except ValueError as error:  # pydantic's own is one
            raise MachineError(
                "its answer is not one of `agency observe`",
                where=self.machine.name,
                hint="is its agency as new as this one?",
            ) from error
        if answer.evidence is None:
            raise MachineError(answer.error or "no evidence, no reason", where=self.machine.name)
        return answer.evidence
