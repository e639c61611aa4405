"""Which units of a host are looked at, and which of them do not run as they should."""

from __future__ import annotations

import dataclasses

import pytest

from agency.errors import UsageError
from agency.guests.activation.definitions import load_start
from agency.machine.units import Unit
from agency.source_digest import source_root
from agency.spinup.expected import Expected, by_export
from agency.spinup.targets.ssh import host
from agency.spinup.targets.ssh.config import config_of
from agency.transcript.rules.v1.services import ALWAYS_ENDING, ALWAYS_RUNNING

PORTABLE = source_root() / "modules" / "portable"
EXPECTED = by_export(PORTABLE, load_start(PORTABLE).units)
(ISSUED,) = EXPECTED.ending


def unit(name: str, active: str = "active", sub: str = "running", load: str = "loaded") -> Unit:
    return Unit(name, load, active, sub, "success", 4711, 0, "ab" * 16, None, None)


def absent(name: str) -> Unit:
    return unit(name, "inactive", "dead", "not-found")


WELL = {
    **{name: unit(name) for name in EXPECTED.running},
    ISSUED: unit(ISSUED, "inactive", "dead"),
    host.SOPS_UNIT: absent(host.SOPS_UNIT),
}


def roll(*others: Unit) -> host.Roll:
    return host.call_roll(WELL | {one.name: one for one in others}, EXPECTED)


def test_what_is_expected_comes_from_the_definitions() -> None:
    assert set(ALWAYS_RUNNING) < set(EXPECTED.running)
    assert set(ALWAYS_ENDING) <= set(EXPECTED.ending)


def test_an_agency_that_runs_is_well() -> None:
    assert roll().bad == ()
    assert [one.name for one in roll().shown] == list(EXPECTED.running)
    assert roll().ended == (ISSUED,)


@pytest.mark.parametrize(
    ("active", "sub"),
    [
        ("inactive", "dead"),
        ("failed", "failed"),
        ("activating", "auto-restart"),
        ("activating", "start"),
        ("deactivating", "stop"),
    ],
)
@pytest.mark.parametrize("name", EXPECTED.running)
def test_what_the_definitions_start_must_run(name: str, active: str, sub: str) -> None:
    assert roll(unit(name, active, sub)).bad == (name,)
    assert roll(absent(name)).bad == (name,)


def test_what_ends_by_itself_must_have_ended_well() -> None:
    assert roll(unit(ISSUED)).bad == ()
    assert roll(unit(ISSUED, "activating", "start")).bad == (ISSUED,)
    assert roll(unit(ISSUED, "failed", "failed")).bad == (ISSUED,)
    assert roll(absent(ISSUED)).bad == (ISSUED,)
    broken = dataclasses.replace(WELL[ISSUED], result="exit-code")
    assert roll(broken).bad == (ISSUED,)


def test_what_nothing_starts_may_rest_or_be_under_way() -> None:
    name = "agency-reconcile-x.service"
    under_way = unit("agency-y.service", "activating", "start")
    assert roll(unit(name, "inactive", "dead"), under_way).bad == ()
    assert roll(unit(name, "failed", "failed")).bad == (name,)
    assert roll(unit(name, "activating", "auto-restart")).bad == (name,)


def test_sops_nix_installs_secrets_in_place_of_ours() -> None:
    sops = unit(host.SOPS_UNIT, sub="exited")
    gone = absent(host.SECRETS_UNIT), absent(ISSUED)
    assert roll(sops, *gone).bad == ()
    assert host.SOPS_UNIT in {one.name for one in roll(sops, *gone).shown}
    assert roll(*gone).bad == (host.SECRETS_UNIT, ISSUED)
    assert roll(unit(host.SOPS_UNIT, "inactive", "dead"), *gone).bad == (host.SOPS_UNIT,)
    assert roll(sops, *gone, absent("nftables.service")).bad == ("nftables.service",)


def test_nothing_expected_is_nothing_shown() -> None:
    seen = {host.SOPS_UNIT: absent(host.SOPS_UNIT)}
    assert host.call_roll(seen, Expected((), ())) == host.Roll((), ())


def said(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "host": "root@host",
        "ssh_options": (),
        "connect_timeout_s": 30.0,
        "read_only": True,
        "password_file": None,
        "suite_timeout_s": 240,
    }
    return {**values, **changes}


def test_looking_is_the_default_and_talking_needs_passwords(tmp_path) -> None:
    assert config_of(said()).read_only
    talking = said(read_only=False, password_file=tmp_path / "passwords.json")
    assert not config_of(talking).read_only


@pytest.mark.parametrize(
    "changes",
    [
        {"host": None},
        {"host": "-x"},
        {"read_only": False},
        {"password_file": "passwords.json"},
        {"ssh_options": ("StrictHostKeyChecking=no",)},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        config_of(said(**changes))
