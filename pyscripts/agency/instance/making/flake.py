"""Nix files of a new instance: a flake with its machine, and the facts of that machine.

They are for its operator to edit; nothing reads or writes them again.
"""

from __future__ import annotations

from pathlib import Path

from agency.instance.jinja import fill

FILES = ("flake.nix", "host.nix")


def write_flake(directory: Path) -> None:
    """Write the Nix files of the instance in `directory`."""
    for name in FILES:
        (directory / name).write_bytes(fill(f"{name}.j2"))
