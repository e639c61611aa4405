"""What is asked of the engine for one agent, and how its answers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agency import naming
from agency.control.runtimes.base import StartRequest, Usage
from agency.control.runtimes.docker.container import (
    Identity,
    acp_inside,
    container_config,
    refusals,
    seen_container,
    usage_of,
    whole_seconds,
)
from agency.control.runtimes.docker.settings import DockerSettings

ID = "sha256:" + "a" * 64
SETTINGS = DockerSettings(image="agency-agent:0.1.0", image_id=ID)
PM = Identity("acme", "pm")
REQUEST = StartRequest("pm", "pm", "new-app", "trace-1")


def config(settings: DockerSettings = SETTINGS, request: StartRequest = REQUEST) -> dict[str, Any]:
    inside = acp_inside(Path("/run/x/pm"), Path("/run/redeem/pm"))
    return container_config(PM, settings, inside, request.trace, 10)


def test_the_image_is_named_by_its_id_alone() -> None:
    assert config()["Image"] == ID
    assert "0.1.0" not in json.dumps(config())


def test_nothing_of_the_project_or_the_role_is_told_to_the_engine() -> None:
    assert "new-app" not in json.dumps(config())


def test_it_is_given_no_right_no_network_and_no_device() -> None:
    host = config()["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    for key in ("CapAdd", "Devices", "Binds", "PortBindings", "PidMode", "UsernsMode", "Links"):
        assert not host.get(key)
    assert host["NetworkMode"] == "none"
    assert host["SecurityOpt"] == ["no-new-privileges:true"], "and no other seccomp profile"
    assert not host["Privileged"]
    assert [(each["Type"], each.get("ReadOnly")) for each in host["Mounts"]] == [
        ("bind", True),
        ("bind", True),
        ("volume", None),
    ]
    assert "sock" not in host["Mounts"][0]["Source"]


def test_its_user_is_no_user_of_the_machine_and_no_other_agents() -> None:
    uid = naming.container_uid("pm")
    assert config()["User"] == f"{uid}:{uid}"
    assert 2**31 > uid > naming.AGENT_UIDS.stop
    assert naming.container_uid("developer") != uid == naming.container_uid("pm")


def test_the_digest_names_the_configuration_and_not_the_start() -> None:
    def digest(**changes: Any) -> str:
        return str(config(**changes)["Labels"]["agency.config"])

    later = StartRequest("pm", "pm", None, "trace-2")
    assert digest() == digest(request=later)
    assert digest() != digest(settings=SETTINGS.model_copy(update={"pids": 99}))
    assert config(request=later)["Labels"]["agency.trace"] == "trace-2"


@pytest.mark.parametrize(
    ("labels", "owned"),
    [
        (None, False),
        ({}, False),
        ({"agency.agent": "pm"}, False),
        ({"agency.agent": "pm", "agency.instance": "other"}, False),
        ({"agency.agent": "developer", "agency.instance": "acme"}, False),
        ({"agency.agent": "pm", "agency.instance": "acme", "more": "x"}, True),
    ],
)
def test_what_has_not_its_labels_is_not_its(labels: dict[str, str] | None, owned: bool) -> None:
    assert PM.owns(labels) is owned


FIT = {
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
}


@pytest.mark.parametrize("profile", ["builtin", "default", "/etc/docker/seccomp.json"])
def test_a_fit_engine_is_taken(profile: str) -> None:
    assert refusals({**FIT, "SecurityOptions": [f"name=seccomp,profile={profile}"]}) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SecurityOptions": None}, "seccomp"),
        ({"SecurityOptions": ["name=apparmor"]}, "seccomp"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp"),
        ({"MemoryLimit": False}, "cannot limit memory"),
        ({"PidsLimit": False, "CpuCfsQuota": False}, "cannot limit processes and processor time"),
        ({"PidsLimit": None}, "cannot limit processes"),
    ],
)
def test_an_engine_that_would_drop_a_promise_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    (reason,) = refusals({**FIT, **changes})
    assert words in reason


def described(**state: Any) -> dict[str, Any]:
    base = {"Running": False, "StartedAt": "2026-01-02T03:04:05.123456789Z", "ExitCode": 0}
    return {"Id": "ab" * 32, "State": {**base, **state}, "Config": {"Labels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("code", "status"), [(0, 0), (1, 1), (128, 128), (137, -9), (143, -15), (192, -64), (193, 193)]
)
def test_an_exit_status_reads_as_that_of_the_other_runtimes(code: int, status: int) -> None:
    assert seen_container(described(ExitCode=code)).exit_status == status


def test_a_container_is_read() -> None:
    seen = seen_container(described(Running=True, OOMKilled=True))
    assert (seen.handle, seen.running, seen.exit_status) == ("ab" * 6, True, None)
    assert seen.started_at == 1767323045.123456
    assert (seen.out_of_memory, dict(seen.labels)) == (True, {"a": "b"})


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", ""])
def test_one_that_never_started_has_neither_time_nor_status(text: str) -> None:
    seen = seen_container(described(StartedAt=text, ExitCode=127))
    assert (seen.started_at, seen.exit_status) == (None, None)


def test_a_time_may_have_any_number_of_digits() -> None:
    for text, fraction in [("05Z", 0), ("05.5Z", 0.5), ("05.000001Z", 0.000001)]:
        seen = seen_container(described(StartedAt=f"2026-01-02T03:04:{text}"))
        assert seen.started_at == pytest.approx(1767323045 + fraction, abs=1e-7)


@pytest.mark.parametrize(
    ("stats", "usage"),
    [
        ({}, Usage()),
        ({"memory_stats": {"usage": 10, "stats": {"inactive_file": 4}}}, Usage(memory=6)),
        ({"memory_stats": {"usage": 10, "stats": {"total_inactive_file": 4}}}, Usage(memory=6)),
        ({"memory_stats": {"usage": 3, "stats": {"inactive_file": 4}}}, Usage(memory=0)),
        ({"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}, Usage(cpu_s=2.5)),
        ({"cpu_stats": {"cpu_usage": {"total_usage": 0}}}, Usage()),
    ],
)
def test_usage_is_read(stats: dict[str, Any], usage: Usage) -> None:
    assert usage_of(stats) == usage


@pytest.mark.parametrize(("given", "whole"), [(0, 1), (0.2, 1), (1, 1), (1.1, 2), (30, 30)])
def test_a_grace_time_is_never_none(given: float, whole: int) -> None:
    assert whole_seconds(given) == whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_id": "agency-agent:0.1.0"},
        {"image_id": "sha256:" + "a" * 63},
        {"image_id": "sha256:" + "A" * 64},
        {"image_id": ID + "\n"},
        {"image": "agency-agent"},
        {"image": "agency-agent:latest --privileged"},
        {"image": "agency-agent:0.1.0\n"},
        {"url": "tcp://192.0.2.1:2375"},
        {"memory_mib": 0},
        {"cpus": 0},
        {"pids": 0},
        {"pids": -1},
        {"tmp_mib": 0},
    ],
)
def test_settings_that_would_hold_nothing_are_refused(wrong: dict[str, Any]) -> None:
    good = SETTINGS.model_dump()
    assert DockerSettings(**good) == SETTINGS
    with pytest.raises(ValidationError):
        DockerSettings(**{**good, **wrong})
