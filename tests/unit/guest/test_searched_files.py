"""Where a machine is searched for secrets: in files, and in what NixOS links to."""

from __future__ import annotations

from pathlib import Path

from agency.spinup.observe.machine import files_of


def test_links_into_the_store_are_followed_and_others_are_not(tmp_path: Path) -> None:
    store, etc, elsewhere = (tmp_path / name for name in ("store", "etc", "elsewhere"))
    units = etc / "systemd" / "system"
    for directory in (store / "units", etc / "systemd", elsewhere):
        directory.mkdir(parents=True)
    (store / "control.json").touch()
    (store / "units" / "a.service").touch()
    (elsewhere / "secret").touch()
    (etc / "plain").touch()
    (etc / "control.json").symlink_to(store / "control.json")
    (etc / "same.json").symlink_to(store / "control.json")
    (etc / "secret").symlink_to(elsewhere / "secret")
    (etc / "gone").symlink_to(store / "gone")
    units.symlink_to(store / "units")
    found = files_of([etc, tmp_path / "nothing"], store=store, units=units)
    assert sorted(path.resolve() for path in found) == [
        etc / "plain",
        store / "control.json",
        store / "units" / "a.service",
    ]


def test_a_machine_without_a_store_is_searched_as_it_is(tmp_path: Path) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    (units / "a.service").touch()
    assert files_of([tmp_path / "etc"], units=units) == [units / "a.service"]
