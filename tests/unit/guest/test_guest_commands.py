"""Which guests `agency guest destroy` destroys."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from agency.errors import UsageError
from agency.guests import commands
from agency.guests.incus.model import Instance, Kind
from agency.guests.machines.janitor import Held, Purpose


def held(name: str, purpose: Purpose = Purpose.RUN, *, alive: bool = False) -> Held:
    instance = Instance(f"agency-{name}", Kind.CONTAINER, "Running", {}, {}, "", None)
    return Held(instance, name, purpose, alive)


ENDED, RUNS = held("run-ended"), held("run-runs", alive=True)
KEPT, LEASED = held("run-kept", Purpose.KEPT), held("lease-x", Purpose.LEASE)


def test_what_nobody_uses_is_destroyed_by_all_and_by_name() -> None:
    assert commands.chosen((ENDED,), (), force=False) == (ENDED,)
    assert commands.chosen((ENDED, KEPT, LEASED), ("agency-run-ended",), force=False) == (ENDED,)
    assert commands.chosen((), (), force=False) == ()


@pytest.mark.parametrize(
    ("used", "hint"),
    [(RUNS, "wait for it"), (KEPT, "name it"), (LEASED, "agency sandbox down lease-x")],
)
def test_all_does_not_mean_what_somebody_uses(used: Held, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        commands.chosen((ENDED, used), (), force=False)
    assert caught.value.where == used.instance.name
    assert hint in str(caught.value.hint)
    assert commands.chosen((ENDED, used), (), force=True) == (ENDED, used)


def test_by_name_a_kept_guest_is_destroyed_and_a_lease_is_not() -> None:
    assert commands.chosen((KEPT,), ("agency-run-kept",), force=False) == (KEPT,)
    for used in (LEASED, RUNS):
        with pytest.raises(UsageError):
            commands.chosen((used,), (used.instance.name,), force=False)
        assert commands.chosen((used,), (used.instance.name,), force=True) == (used,)


@pytest.mark.parametrize("arguments", [["destroy", "agency-none"], ["shell", "agency-none"]])
def test_no_incus_is_started_to_say_that_there_is_no_such_guest(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(*_: object) -> None:
        raise AssertionError("an Incus was started")

    monkeypatch.setenv("AGENCY_INCUS_DIR", str(tmp_path / "incus"))
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(commands, "connect_incus", start)
    monkeypatch.setattr(commands, "find_program", lambda name, hint: name)
    result = CliRunner().invoke(commands.guest, arguments)
    assert isinstance(result.exception, UsageError), result.exception
    assert result.exception.message == "no guest of that name"
    assert not (tmp_path / "incus").exists()


def test_destroying_all_where_there_is_no_incus_destroys_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENCY_INCUS_DIR", str(tmp_path / "incus"))
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    result = CliRunner().invoke(commands.guest, ["destroy", "--all"])
    assert (result.exit_code, result.output) == (0, "destroyed nothing\n")
