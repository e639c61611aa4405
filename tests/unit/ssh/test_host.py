"""Which units of a host are looked at, and which of them do not run as they should."""

from __future__ import annotations

import pytest

from agency.errors import UsageError
from agency.spinup.remote.units import Unit
from agency.spinup.ssh import host
from agency.spinup.ssh.options import SshOptions
from agency.spinup.ssh.wishes import wishes_of


def unit(name: str, active: str = "active", sub: str = "running") -> Unit:
    return Unit(name, "loaded", active, sub, "success", 4711, 0, "ab" * 16, None, None)


REQUIRED = {name: unit(name) for name in host.REQUIRED}


def bad(*others: Unit) -> tuple[str, ...]:
    return host.not_running(host.settled(REQUIRED | {one.name: one for one in others}))


def test_an_agency_that_runs_is_well() -> None:
    assert bad() == ()
    assert [one.name for one in host.settled(REQUIRED)] == list(REQUIRED)


@pytest.mark.parametrize(
    ("active", "sub"),
    [("inactive", "dead"), ("failed", "failed"), ("activating", "auto-restart")],
)
@pytest.mark.parametrize("name", host.REQUIRED)
def test_without_these_there_is_no_agency(name: str, active: str, sub: str) -> None:
    assert bad(unit(name, active, sub)) == (name,)


def test_what_rests_or_is_under_way_is_not_held_against_it() -> None:
    name = "agency-reconcile-x.service"
    assert (
        bad(unit(name, "inactive", "dead"), unit("agency-y.service", "activating", "start")) == ()
    )
    assert bad(unit(name, "failed", "failed")) == (name,)
    assert bad(unit(name, "activating", "auto-restart")) == (name,)


def said(**changes: object) -> SshOptions:
    values: dict[str, object] = {
        "host": "root@host",
        "ssh_options": (),
        "connect_timeout_s": 30.0,
        "read_only": True,
        "password_file": None,
    }
    return SshOptions(**{**values, **changes})  # type: ignore[arg-type]


def test_looking_is_the_default_and_talking_needs_passwords(tmp_path) -> None:
    assert wishes_of(said(), 240).read_only
    talking = said(read_only=False, password_file=tmp_path / "passwords.json")
    assert not wishes_of(talking, 240).read_only


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
        wishes_of(said(**changes), 240)
