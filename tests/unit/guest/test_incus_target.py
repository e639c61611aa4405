"""What the target `incus` says is asked for: of Incus, of the store, of this machine's ports."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agency.clock import Clock
from agency.guests.incus.model import instance_from
from agency.machine.completed import Completed
from agency.spinup.record import ProbeRecord, Recorder
from agency.spinup.targets.incus import evidence
from agency.spinup.targets.incus.config import Wishes
from agency.spinup.targets.incus.target import IncusTarget
from agency.transcript.rules.v2.judge import PROBES

FINGERPRINT = "5c" * 32
BOOT = "e24fd5b6-a2f1-4087-8ace-8044c90ffdbe"


def made(**changes: Any) -> dict[str, Any]:
    """An instance as Incus gives it."""
    config = {"volatile.base_image": FINGERPRINT}
    return {"name": "g", "type": "container", "status": "Running", "config": config, **changes}


def guest_of(raw: dict[str, Any] | None) -> Any:
    """A simulated guest that runs well, of an instance that Incus has or has not."""

    async def instance(_: str) -> Any:
        return None if raw is None else instance_from(raw)

    async def look(*_: str) -> Completed:
        return Completed(0, b"running\n", b"", truncated=False)

    async def failed_units() -> tuple[str, ...]:
        return ()

    async def boot_id() -> str:
        return BOOT

    return SimpleNamespace(
        name="g",
        incus=SimpleNamespace(instance=instance),
        look=look,
        failed_units=failed_units,
        boot_id=boot_id,
    )


async def test_kind_and_image_are_what_incus_made_it_of() -> None:
    seen = await evidence.running(guest_of(made()), 3.5)
    assert (seen["kind"], seen["image"]) == ("container", FINGERPRINT)
    assert PROBES["guest.running"].judge(seen).reason == ""
    seen = await evidence.running(guest_of(made(type="virtual-machine")), 3.5)
    assert seen["kind"] == "virtual-machine"


@pytest.mark.parametrize("raw", [None, made(config={})], ids=["gone", "of no image"])
async def test_an_instance_of_no_known_image_does_not_hold(raw: dict[str, Any] | None) -> None:
    seen = await evidence.running(guest_of(raw), 3.5)
    assert "image" in PROBES["guest.running"].judge(seen).reason


class Silent:
    """Is told, and keeps it to itself."""

    def step_began(self, name: str) -> None: ...

    def step_ended(self, record: object) -> None: ...

    def probe_ended(self, record: ProbeRecord) -> None: ...


@pytest.fixture
def target(tmp_path: Path) -> IncusTarget:
    """A target whose guest is gone."""

    async def instance(_: str) -> None:
        return None

    setting = SimpleNamespace(directory=SimpleNamespace(run="run-x", path=tmp_path / "gone"))
    owner = SimpleNamespace(instance="agency-run-x")
    return IncusTarget(
        setting=setting,  # type: ignore[arg-type]
        recorder=Recorder("incus", Clock(), Silent()),
        wishes=Wishes(),
        incus=SimpleNamespace(instance=instance),  # type: ignore[arg-type]
        maker=SimpleNamespace(owner=owner, base=tmp_path),  # type: ignore[arg-type]
        secrets=SimpleNamespace(),  # type: ignore[arg-type]
    )


async def test_ports_that_led_into_the_guest_must_be_closed(target: IncusTarget) -> None:
    def left() -> tuple[int, str]:
        (clean,) = [p for p in target.recorder.probes if p.name == "teardown.clean"]
        target.recorder.probes.clear()
        return clean.evidence["socketsLeft"], clean.status

    with socket.create_server(("127.0.0.1", 0)) as listening:
        target._ports = (listening.getsockname()[1],)
        await target._look_back()
        assert left() == (1, "failed")
    await target._look_back()
    assert left() == (0, "passed")


async def test_the_store_says_its_own_schema() -> None:
    async def look(*argv: str, **_: object) -> Completed:
        said = b"15.20 (Debian)" if "SHOW server_version" in argv else b"94"
        return Completed(0, said, b"", truncated=False)

    machine: Any = SimpleNamespace(name="g", look=look)
    seen = await evidence.databases(machine, {"revision": "0007"})
    assert json.loads(json.dumps(seen)) == {
        "server": "15.20",
        "homeserverSchema": 94,
        "controlSchema": "0007",
    }
