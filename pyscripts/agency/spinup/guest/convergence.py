"""Activating again: nothing may change; and after something was changed by hand, it must heal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agency.canonical import sha256_hex
from agency.spinup.guest.evidence import activated
from agency.spinup.remote import units
from agency.spinup.remote.machine import Machine, run
from agency.spinup.remote.subject import CONTROL_UNIT
from agency.spinup.steps import Evidence

_UNIT_FILE = f"/etc/systemd/system/{CONTROL_UNIT}"
_CHAIN = ("inet", "agency-agents", "output")
_EXTRA = b"# written by hand\n"


@dataclass(frozen=True, slots=True)
class Activator:
    """Calls `agency activate` on a machine, always with the same definitions."""

    machine: Machine
    program: str
    portable: str
    instance: str
    timeout_s: float

    async def activate(self, *, check: bool = False) -> Evidence:
        """Activate, or with `check` only say what differs.

        Raises:
            MachineError: it failed, with the journals of the units that are to blame.
        """
        argv = (
            *(self.program, "activate", "--portable", self.portable, "--instance", self.instance),
            *("--timeout", str(self.timeout_s), "--json"),
            *(("--check",) if check else ()),
        )
        return await activated(self.machine, *argv, timeout_s=self.timeout_s + 10)

    async def again(self, names: Mapping[str, object]) -> Evidence:
        """A second activation; `names` are the units that run."""
        before = await self._invocations(names)
        report = await self.activate()
        after = await self._invocations(names)
        return {**report, "invocationsBefore": before, "invocationsAfter": after}

    async def _invocations(self, names: Mapping[str, object]) -> dict[str, str]:
        seen = await units.show(self.machine, names)
        return {name: unit.invocation for name, unit in seen.items() if unit.invocation}

    async def drift(self) -> Evidence:
        """Change a unit's file, stop a unit and empty the firewall by hand, then activate."""
        before = await self._observe()
        content = await run(self.machine, "cat", _UNIT_FILE)
        await run(self.machine, "tee", _UNIT_FILE, stdin=content + _EXTRA)
        await run(self.machine, "systemctl", "stop", CONTROL_UNIT, timeout_s=60)
        await run(self.machine, "nft", "flush", "chain", *_CHAIN)
        planted = await self._observe()
        found = await self.activate(check=True)
        await self.activate()
        after = await self._observe()
        left = await self.activate(check=True)
        return {
            "planted": [
                {"what": what, "before": before[what], "planted": planted[what], "after": now}
                for what, now in after.items()
            ],
            "foundByCheck": len(found["changes"]),
            "leftAfter": len(left["changes"]),
        }

    async def _observe(self) -> dict[str, str]:
        content = await run(self.machine, "cat", _UNIT_FILE)
        rules = await run(self.machine, "nft", "--stateless", "list", "chain", *_CHAIN)
        unit = (await units.show(self.machine, [CONTROL_UNIT]))[CONTROL_UNIT]
        return {
            f"file {_UNIT_FILE}": sha256_hex(content),
            f"unit {CONTROL_UNIT}": f"{unit.active} ({unit.sub})",
            f"firewall {' '.join(_CHAIN)}": sha256_hex(rules),
        }
