"""What an instance is asked to be, whose it is, and what Incus says of it."""

import os

import pytest

from agency.errors import PrerequisiteError
from agency.guests.incus.model import (
    Instance,
    InstanceSpec,
    Kind,
    Limits,
    Server,
    instance_from,
    server_from,
    usage_from,
)
from agency.guests.machines.janitor import Owner, Purpose, ours, reap
from agency.guests.machines.placement import WantedKind, decide
from agency.locks import try_lock


def spec(kind: Kind = Kind.CONTAINER) -> InstanceSpec:
    return InstanceSpec("g", kind, "f" * 64, "pool", Limits(512, 1, 100, 4), {"run": "r"})


def server(*drivers: str) -> Server:
    return Server("6.0", drivers, ("dir",))


def test_a_guest_has_a_disk_and_nothing_else():
    body = spec().body()
    assert body["profiles"] == []
    assert list(body["devices"]) == ["root"]
    assert body["devices"]["root"]["size"] == "4GiB"


def test_limits_and_labels_are_its_config():
    config = spec().body()["config"]
    assert config["limits.memory"] == "512MiB"
    assert config["limits.cpu"] == "1"
    assert config["limits.processes"] == "100"
    assert config["user.agency.run"] == "r"


def test_a_container_is_unprivileged_and_its_users_are_its_own():
    config = spec().body()["config"]
    assert config["security.privileged"] == "false"
    assert config["security.idmap.isolated"] == "true"
    assert "security.privileged" not in spec(Kind.VM).body()["config"]


def test_network_devices_are_seen():
    raw = {
        "name": "g",
        "type": "container",
        "expanded_devices": {"eth0": {"type": "nic"}, "root": {"type": "disk"}},
    }
    assert instance_from(raw).network_devices == ("eth0",)


def test_what_incus_does_not_know_is_none():
    usage = usage_from({"memory": {"usage": 0, "usage_peak": 5}, "processes": -1, "disk": None})
    assert (usage.memory, usage.memory_peak, usage.processes, usage.disk) == (None, 5, None, None)


def test_the_drivers_of_a_server():
    raw = {
        "environment": {
            "server_version": "6.0.4",
            "driver": "lxc | qemu",
            "storage_supported_drivers": None,
        }
    }
    found = server_from(raw)
    assert found.runs_vms
    assert found.runs_containers
    assert found.storage_drivers == ()


@pytest.mark.parametrize(
    ("drivers", "wanted", "kind", "reason"),
    [
        (("lxc",), "auto", Kind.CONTAINER, "no working driver for virtual"),
        (("lxc", "qemu"), "auto", Kind.VM, "the host reports a working driver for virtual"),
        (("qemu",), "auto", Kind.VM, "the host reports a working driver for virtual"),
        (("lxc", "qemu"), "vm", Kind.VM, "a virtual machine was asked for"),
        (("lxc", "qemu"), "container", Kind.CONTAINER, "a container was asked for"),
    ],
)
def test_the_kind_and_the_reason(drivers, wanted, kind, reason):
    decision = decide(server(*drivers), WantedKind(wanted))
    assert decision.kind is kind
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("drivers", "wanted", "named"),
    [
        (("lxc",), "vm", "virtual machines"),
        (("qemu",), "container", "containers"),
        ((), "auto", "containers"),
    ],
)
def test_what_cannot_run_is_refused_with_a_way_out(drivers, wanted, named):
    with pytest.raises(PrerequisiteError, match=f"no working driver for {named}") as caught:
        decide(server(*drivers), WantedKind(wanted))
    assert caught.value.hint


def instance(name: str, labels: dict[str, str]) -> Instance:
    return Instance(name, Kind.CONTAINER, "Running", labels, {}, "", None)


def test_only_guests_with_our_labels_and_name_are_ours(tmp_path):
    mine = Owner(tmp_path, "run-1")
    other = Owner(tmp_path / "other", "run-2")
    found = ours(
        [
            instance(mine.instance, mine.labels()),
            instance(other.instance, other.labels()),
            instance("copy-of-it", mine.labels()),
            instance("agency-run-3", {}),
            instance("agency-run-4", {"run": "run-4"}),
        ],
        tmp_path,
    )
    assert [held.instance.name for held in found] == [mine.instance]


@pytest.mark.parametrize(
    ("purpose", "locked", "left"),
    [
        (Purpose.RUN, False, True),
        (Purpose.RUN, True, False),
        (Purpose.KEPT, False, False),
        (Purpose.LEASE, False, False),
    ],
)
def test_left_behind_is_what_a_dead_run_made_for_itself(tmp_path, purpose, locked, left):
    owner = Owner(tmp_path, "run-1", purpose)
    directory = tmp_path / "runs" / "run-1"
    directory.mkdir(parents=True)
    lock = try_lock(directory / "lock") if locked else None
    (held,) = ours([instance(owner.instance, owner.labels())], tmp_path)
    assert held.left_behind is left
    if lock is not None:
        os.close(lock)


class Changing:
    """An Incus whose one instance is seen with other labels at each look."""

    def __init__(self, *looks: Instance | None) -> None:
        self.looks = [*looks]
        self.destroyed: list[str] = []

    async def instances(self):
        return [self.looks.pop(0)]

    async def instance(self, name):
        return self.looks.pop(0) if self.looks else None

    async def change_state(self, name, action, **_):
        assert action == "stop"

    async def delete(self, name, **_):
        self.destroyed.append(name)


@pytest.mark.parametrize(
    ("now", "destroyed"), [(Purpose.RUN, True), (Purpose.KEPT, False), (None, False)]
)
async def test_a_guest_that_was_kept_just_now_is_left_alone(tmp_path, now, destroyed):
    owner = Owner(tmp_path, "run-1")
    first = instance(owner.instance, owner.labels())
    then = now and instance(owner.instance, Owner(tmp_path, "run-1", now).labels())
    # The third look is that of the destruction itself.
    incus = Changing(first, then, first)
    assert await reap(incus, tmp_path) == ((owner.instance,) if destroyed else ())
    assert incus.destroyed == ([owner.instance] if destroyed else [])
