"""Which units a change concerns."""

from __future__ import annotations

import pytest

from agency.guests.activation.changes import Change
from agency.guests.activation.dependents import concerned, gone_units, unit_of

TEXTS = {
    "etc/systemd/system/a.service": "ExecStart=/opt/a --config /etc/agency/a.json\n"
    "LoadCredential=token:/run/secrets/token\n",
    "etc/systemd/system/b.service": "ExecStart=/usr/lib/agency/nixos/b-start\n",
    "usr/lib/agency/nixos/b-start": "exec b --config /usr/lib/agency/nixos/b.conf\n",
    "usr/lib/agency/nixos/b.conf": "include /usr/lib/agency/nixos/c.conf\n",
    "usr/lib/agency/nixos/c.conf": "",
    "etc/agency/a.json": "{}",
    "etc/systemd/system/t@.service": "ExecStart=/opt/t %i\n",
    "etc/systemd/system/t@pm.service.d/50-agency.conf": "Slice=pm.slice\n",
    "etc/systemd/system/t@dev.service.d/50-agency.conf": "Slice=dev.slice\n",
}


@pytest.mark.parametrize(
    ("unit", "changed"),
    [
        ("a.service", "etc/systemd/system/a.service"),
        ("a.service", "etc/systemd/system/a.service.d/override.conf"),
        ("a.service", "etc/agency/a.json"),
        ("a.service", "run/secrets/token"),
        ("b.service", "usr/lib/agency/nixos/b-start"),
        ("b.service", "usr/lib/agency/nixos/c.conf"),
        ("t@pm.service", "etc/systemd/system/t@.service"),
        ("t@pm.service", "etc/systemd/system/t@pm.service.d/50-agency.conf"),
    ],
)
def test_it_is_concerned(unit: str, changed: str) -> None:
    assert concerned(unit, TEXTS, [changed])


@pytest.mark.parametrize(
    ("unit", "changed"),
    [
        ("b.service", "etc/agency/a.json"),
        ("a.service", "usr/lib/agency/nixos/c.conf"),
        ("t@pm.service", "etc/systemd/system/t@dev.service.d/50-agency.conf"),
        ("a.service", "etc/systemd/system/aa.service"),
    ],
)
def test_it_is_not(unit: str, changed: str) -> None:
    assert not concerned(unit, TEXTS, [changed])


def test_nothing_changed_concerns_nobody() -> None:
    assert not any(concerned(unit, TEXTS, []) for unit in ("a.service", "b.service"))


def test_files_that_name_one_another_come_to_an_end() -> None:
    texts = {
        "etc/systemd/system/a.service": "/etc/agency/x",
        "etc/agency/x": "/etc/agency/y",
        "etc/agency/y": "/etc/agency/x",
    }
    assert not concerned("a.service", texts, ["etc/agency/z"])
    assert concerned("a.service", texts, ["etc/agency/y"])


def test_the_unit_of_a_path() -> None:
    assert unit_of("etc/systemd/system/a.service.d/x.conf") == "a.service"
    assert unit_of("etc/systemd/system/a.service") == "a.service"
    assert unit_of("etc/agency/a.json") is None


def gone(*paths: str) -> list[str]:
    return gone_units([Change("file", path, "there", "absent") for path in paths], TEXTS)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("etc/systemd/system/old.service", "old.service"),
        ("etc/systemd/system/old.timer", "old.timer"),
        ("etc/systemd/system/t@gone.service.d/50-agency.conf", "t@gone.service"),
        ("etc/systemd/system/u@.service", "u@*.service"),
    ],
)
def test_a_unit_without_a_definition_is_gone(path: str, pattern: str) -> None:
    assert gone(path) == [pattern]


@pytest.mark.parametrize(
    "path",
    [
        "etc/systemd/system/a.service.d/override.conf",
        "etc/systemd/system/t@pm.service.d/by-hand.conf",
        "etc/systemd/system/old.service.d/override.conf",
        "etc/systemd/system/u@.service.d/override.conf",
        "run/systemd/system/old.service",
        "etc/agency/a.json",
    ],
)
def test_a_unit_that_lost_an_override_is_not(path: str) -> None:
    assert gone(path) == []


def test_what_is_mended_is_not_gone() -> None:
    change = Change("file", "etc/systemd/system/old.service", "absent", "wanted")
    assert gone_units([change], TEXTS) == []
