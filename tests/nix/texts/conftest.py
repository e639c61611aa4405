"""Texts of the full machine, and the real programs that read them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TREE = "AGENCY_DEBIAN_TREE"
LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/libexec/sudo")
PLACES = ("usr/sbin", "usr/bin")


@dataclass(frozen=True, slots=True)
class Program:
    """A real program: of this machine, or of a Debian unpacked beside it."""

    argv: tuple[str, ...]
    modules: Path

    def run(self, *arguments: str | Path, given: str | None = None) -> str:
        """Run it; its output where it accepts, and an AssertionError with it where it refuses."""
        words = [*self.argv, *map(str, arguments)]
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)
        said = done.stdout + done.stderr
        if done.returncode != 0:
            raise RefusedError(said)
        return said


class RefusedError(AssertionError):
    """The program does not take what it was given."""


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], Program]:
    """A program by its name and its package in Debian, or a skip that says how to get it."""

    def find(name: str, package: str) -> Program:
        tree = Path(os.environ.get(TREE, "/nonexistent"))
        inside = next((tree / one / name for one in PLACES if (tree / one / name).exists()), None)
        if inside is not None:
            libraries = ":".join(str(tree / one) for one in LIBRARIES)
            argv = (str(tree / LOADER), "--library-path", libraries, str(inside))
            return Program(argv, tree / "usr/lib/nginx/modules")
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found is None:
            pytest.skip(
                f"{name} is not here: Debian has it in {package}; `mmdebstrap --variant=minbase "
                f"--include={package} trixie DIRECTORY` puts it beside the system, {TREE} names it"
            )
        return Program((found,), Path("/usr/lib/nginx/modules"))

    return find


@pytest.fixture(scope="session")
def texts(
    new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path
) -> dict[str, Any]:
    """What texts.nix says of a machine that runs every service."""
    file = snapshot / "tests/nix/texts/texts.nix"
    found: dict[str, Any] = evaluate(file, "--argstr", "instance", str(new_instance("texts")))
    return found
