"""Probes taken on a simulated machine, as a spin-up takes them: the rule of each judges it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import DOMAIN

from agency.clock import Clock
from agency.spinup.probes.probe import Identity, run
from agency.spinup.record import ProbeRecord, Recorder

SYSTEMCTL = """#!/usr/bin/python3
# Simulated: shows every unit as active, but those that the file `states` beside it names.
import json, pathlib, sys
states = json.loads((pathlib.Path(__file__).parent / "states").read_text())
blocks = []
for name in sys.argv[sys.argv.index("--") + 1 :]:
    load, active = states.get(name, ("loaded", "active"))
    blocks.append(f"Id={name}\\nLoadState={load}\\nActiveState={active}\\nSubState=running")
print("\\n\\n".join(blocks))
"""

Take = Callable[..., Awaitable[ProbeRecord]]


@dataclass
class Machine:
    """What a probe knows of its machine; nothing else of `Here` is asked for."""

    identity: Identity = field(default_factory=lambda: Identity("example", DOMAIN))


class _Quiet:
    def step_began(self, name: str) -> None: ...
    def step_ended(self, record: Any) -> None: ...
    def probe_ended(self, record: Any) -> None: ...


def show_units(place: Path) -> Path:
    """Put a simulated systemctl into a directory; returns the file with the states it shows."""
    place.mkdir()
    (place / "systemctl").write_text(SYSTEMCTL)
    (place / "systemctl").chmod(0o755)
    (place / "states").write_text("{}")
    return place / "states"


def taker(machine: Machine) -> Take:
    """Make what takes a probe by its name and input."""

    async def take(name: str, **told: Any) -> ProbeRecord:
        recorder = Recorder("ssh", Clock(), _Quiet())
        await recorder.probe(name, lambda: run(machine, name, told))  # type: ignore[arg-type]
        return recorder.probes[0]

    return take
