"""Which system a guest boots, and why."""

import pytest

from agency.guests.incus.model import Kind
from agency.spinup.targets.incus.system.choice import (
    Host,
    System,
    WantedSystem,
    choose_system,
    look_at_host,
)


@pytest.mark.parametrize(
    ("nixos", "built", "wanted", "system", "reason"),
    [
        (False, False, "auto", System.DEBIAN, "not NixOS, and no NixOS image"),
        (True, False, "auto", System.NIXOS, "the host is NixOS"),
        (False, True, "auto", System.NIXOS, "image of this source is built"),
        (True, True, "auto", System.NIXOS, "image of this source is built"),
        (True, True, "debian", System.DEBIAN, "asked for"),
        (False, False, "nixos", System.NIXOS, "asked for"),
    ],
)
def test_the_system_and_the_reason(nixos, built, wanted, system, reason):
    decision = choose_system(Host(nixos, built), WantedSystem(wanted))
    assert decision.system is system
    assert reason in decision.reason


def test_what_a_host_has_is_looked_up(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "flake.nix").write_text("{ }\n")
    mark = tmp_path / "NIXOS"
    assert look_at_host(tmp_path, source, Kind.VM, nixos=mark) == Host(nixos=False, built=False)
    mark.touch()
    assert look_at_host(tmp_path, source, Kind.VM, nixos=mark) == Host(nixos=True, built=False)
