"""The agents' own audit log on a machine, as its own program verifies it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agency.machine import Machine, MachineError
from agency.spinup.record import Evidence

_LOOK_S = 60.0
_BROKEN = 1  # the exit status of `verify` for a log that does not hold


@dataclass(frozen=True, slots=True)
class AgentsAudit:
    """Client of `agency workspace audit` on a machine; `program` is `agency` as called there."""

    machine: Machine
    program: str

    async def observe(self) -> Evidence:
        """Observe each agent's log from its first record to its head, and if it can only grow.

        Raises:
            MachineError: there is no log, or the program does not answer.
        """
        verified, status = await asyncio.gather(self._verify(), self._ask("status"))
        return {
            "agents": [_log(report) for report in verified["agents"]],
            "appendOnly": {"value": status["appendOnly"], "reason": status["reason"]},
        }

    async def heads(self) -> list[Evidence]:
        """Read the last record of each agent's log: `name`, `sequence` and `head`."""
        verified = await self._verify()
        return [
            {"name": log["name"], "sequence": log["sequence"], "head": log["head"]}
            for log in map(_log, verified["agents"])
        ]

    async def keeps(self, heads: Sequence[Evidence]) -> list[Evidence]:
        """Verify the logs anew; a head is `verified` where its log still has that very record."""

        async def kept(head: Evidence) -> Evidence:
            wanted = f"{head['sequence']}:{head['head']}"
            found = await self._verify("--agent", head["name"], "--head", wanted)
            return {**head, "verified": found["ok"]}

        return list(await asyncio.gather(*map(kept, heads)))

    async def _verify(self, *options: str) -> dict[str, Any]:
        return await self._ask("verify", *options)

    async def _ask(self, *words: str) -> dict[str, Any]:
        argv = (self.program, "workspace", "audit", *words, "--json")
        done = await self.machine.look(*argv, timeout_s=_LOOK_S)
        if done.exit_status not in (0, _BROKEN):
            said = (done.stderr or done.stdout).decode(errors="replace").splitlines()
            raise MachineError(
                f"exit status {done.exit_status}: {said[-1] if said else 'no message'}",
                where=f"{self.machine.name}: agency workspace audit {words[0]}",
                log_tail=tuple(said[-30:]),
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def _log(report: dict[str, Any]) -> Evidence:
    """One agent's log; `count` records are kept, `sequence` were ever written."""
    return {
        "name": report["agent"],
        "count": report["count"],
        "sequence": report["head"]["sequence"],
        "head": report["head"]["hash"],
        "verified": report["ok"],
        **({"broken": report["broken"]} if report["broken"] else {}),
    }
