"""The evidence of the target `incus` is asked for: of Incus, and of the store."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from agency.guests.incus.model import instance_from
from agency.machine.machine import Completed
from agency.spinup.targets.incus import evidence
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

    async def look(*argv: str, **_: object) -> Completed:
        said = b"" if "list-units" in argv else b"running\n"
        return Completed(0, said, b"", truncated=False)

    async def boot_id() -> str:
        return BOOT

    return SimpleNamespace(
        name="g",
        incus=SimpleNamespace(instance=instance),
        look=look,
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
