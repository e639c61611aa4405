"""Activating again: nothing may change; and after something was changed by hand, it must heal."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agency.canonical import sha256_hex
from agency.machine import Machine, MachineError, read_digests, run, units
from agency.spinup.expected import Expected
from agency.spinup.record import Evidence
from agency.transcript import CONTROL_UNIT

_UNIT_FILE = f"/etc/systemd/system/{CONTROL_UNIT}"
# A message in the room would start the control plane again.
CONTROL_SOCKET = f"{CONTROL_UNIT.removesuffix('.service')}.socket"
_CHAIN = ("inet", "agency-agents", "output")
_EXTRA = b"# written by hand\n"
_STOP_S = 60.0


class Activates(Protocol):
    """Interface of the program that brings a machine to its definitions."""

    async def activate(self, *, check: bool = False) -> Evidence:
        """Activate, or with `check` only say in `changes` what differs.

        Raises:
            AgencyError: it failed; the log says why.
        """


@dataclass(frozen=True, slots=True)
class Activator:
    """Calls `agency activate` on a machine, always with the same definitions."""

    machine: Machine
    program: str
    portable: str
    instance: str
    timeout_s: float
    parts: tuple[str, ...] = ()

    async def activate(self, *, check: bool = False) -> Evidence:
        """See Activates.

        Raises:
            MachineError: it failed, with the journals of the units that are to blame.
        """
        argv = (
            *(self.program, "activate", "--portable", self.portable, "--instance", self.instance),
            *(word for part in self.parts for word in ("--with", part)),
            *("--timeout", str(self.timeout_s), "--json"),
            *(("--check",) if check else ()),
        )
        return await activated(self.machine, *argv, timeout_s=self.timeout_s + 10)


async def activated(machine: Machine, *argv: str, timeout_s: float) -> Evidence:
    """Run an activation; returns its own JSON report.

    Raises:
        MachineError: it failed, with the journals of the units that are to blame.
    """
    done = await machine.look(*argv, timeout_s=timeout_s)
    if done.exit_status not in (0, 1) or not done.stdout.strip():
        raise _activation_error(machine, done.stderr.decode(errors="replace"))
    report: Evidence = json.loads(done.stdout)
    return report | {"exitStatus": done.exit_status}


def _activation_error(machine: Machine, said: str) -> MachineError:
    found = re.search(r'^\{"error".*\}$', said, re.MULTILINE)
    error = json.loads(found[0])["error"] if found else {}
    return MachineError(
        f"the activation failed: {error.get('message') or said[-500:] or 'no message'}",
        where=f"{machine.name}: {error.get('where') or 'agency activate'}",
        hint=error.get("hint"),
        log_tail=tuple(error.get("log_tail") or said.splitlines()[-30:]),
    )


@dataclass(frozen=True, slots=True)
class Tampering:
    """One thing that is changed by hand; `observe` says how it is, in words or by a digest."""

    what: str
    plant: Callable[[], Awaitable[object]]
    observe: Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Converging:
    """Brings a guest to its definitions, again and again; systems differ in how they activate."""

    machine: Machine
    activates: Activates
    tamperings: Sequence[Tampering]
    expected: Expected

    async def activate(self) -> Evidence:
        """Activate; evidence as `activation.first` needs it."""
        report = await self.activates.activate()
        # What an activation says of files is what it meant to lay down.
        wanted = self.expected.files
        seen = report["digests"] if wanted is None else await read_digests(self.machine, wanted)
        return {**report, **self.expected.evidence(seen)}

    async def again(self) -> Evidence:
        """Activate a second time, and see that no unit was started anew."""
        before = await self._invocations()
        report = await self.activate()
        after = await self._invocations()
        return {**report, "invocationsBefore": before, "invocationsAfter": after}

    async def _invocations(self) -> dict[str, str]:
        seen = await units.show(self.machine, self.expected.running)
        return {name: unit.invocation for name, unit in seen.items()}

    async def drift(self) -> Evidence:
        """Change things by hand, look that a check finds them, and activate."""
        before = await self._observe()
        for tampering in self.tamperings:
            await tampering.plant()
        planted = await self._observe()
        found = await self.activates.activate(check=True)
        await self.activates.activate()
        after = await self._observe()
        left = await self.activates.activate(check=True)
        return {
            "planted": [
                {"what": what, "before": before[what], "planted": planted[what], "after": now}
                for what, now in after.items()
            ],
            "foundByCheck": len(found["changes"]),
            "leftAfter": len(left["changes"]),
        }

    async def _observe(self) -> dict[str, str]:
        return {each.what: await each.observe() for each in self.tamperings}


def debian_tamperings(machine: Machine) -> tuple[Tampering, ...]:
    """List the changes by hand that a Debian is to heal: a unit's file, a unit, the firewall."""

    async def add_line() -> None:
        content = await run(machine, "cat", _UNIT_FILE)
        await run(machine, "tee", _UNIT_FILE, stdin=content + _EXTRA)

    async def flush() -> None:
        await run(machine, "nft", "flush", "chain", *_CHAIN)

    return (
        Tampering(f"file {_UNIT_FILE}", add_line, lambda: file_digest(machine, _UNIT_FILE)),
        stopped_unit(machine, CONTROL_UNIT, CONTROL_SOCKET),
        Tampering(f"firewall {' '.join(_CHAIN)}", flush, lambda: firewall_digest(machine)),
    )


def stopped_unit(machine: Machine, name: str, *starters: str) -> Tampering:
    """Make the tampering that stops a unit, and the units that would start it again."""

    async def stop() -> None:
        await run(machine, "systemctl", "stop", *starters, name, timeout_s=_STOP_S)

    async def observe() -> str:
        unit = (await units.show(machine, [name]))[name]
        return f"{unit.active} ({unit.sub})"

    return Tampering(f"unit {name}", stop, observe)


async def file_digest(machine: Machine, path: str) -> str:
    """Compute the SHA-256 of a file's content."""
    return sha256_hex(await run(machine, "cat", path))


async def firewall_digest(machine: Machine) -> str:
    """Compute the SHA-256 of the rules for agents' traffic; "absent" where there are none."""
    done = await machine.look("nft", "--stateless", "list", "chain", *_CHAIN)
    return sha256_hex(done.stdout) if done.exit_status == 0 else "absent"
