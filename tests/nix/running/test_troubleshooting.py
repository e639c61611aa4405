"""Units that docs/troubleshooting.md names are those of the full machine."""

from __future__ import annotations

import re
from typing import Any

from troubleshooting import PAGE, filled, read_rows, units

COMMANDS = sorted({command for row in read_rows(PAGE.read_text()) for command in row.commands()})


def test_every_unit_of_the_page_is_one_of_the_machine(hosts: dict[str, dict[str, Any]]) -> None:
    machine = set(hosts["builtin"]["units"])
    named = {re.sub(r"@.*\.", "@.", unit) for one in COMMANDS for unit in units(filled(one))}
    assert len(named) > 10
    assert "no-such.service" not in machine
    assert named <= machine, named - machine


def test_programs_of_the_page_are_on_the_machine(hosts: dict[str, dict[str, Any]]) -> None:
    """Others are NixOS's own; these are there by our modules, or must be."""
    programs = set(hosts["builtin"]["programs"])
    assert {"agency", "git", "nftables"} <= programs
    assert "no-such-program" not in programs
