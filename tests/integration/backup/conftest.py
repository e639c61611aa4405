from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from authority import Authority
from backing import Machine, needs_restic
from debian_programs import CACHE, unpack

from agency.secrets import DIRECTORY_VARIABLE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(needs_restic)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path).make()
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(made.credentials))
    return made


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


Restic = Callable[[str], Path]


@pytest.fixture(scope="session")
def restic() -> Restic:
    """The machine's restic (Debian 12: 0.14), or one as new as that of NixOS (Debian 13: 0.18)."""

    def find(which: str) -> Path:
        if which == "machine":
            return Path(shutil.which("restic") or "restic")
        unpacked = CACHE / "restic-trixie"
        if not unpacked.is_dir() and (why := unpack(unpacked, "restic", suite="trixie")):
            pytest.skip(f"a newer restic is not to be had: {why}")
        return unpacked / "usr/bin/restic"

    return find


@pytest.fixture
def trusting(
    machine: Machine, authority: Authority, restic: Restic, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Choose a restic; it trusts the authority as a machine does with it in security.pki."""

    def choose(which: str = "machine") -> None:
        programs = machine.place / "programs"
        programs.mkdir()
        trusted = machine.place / "trusted.pem"
        trusted.write_bytes(authority.pem)
        program = programs / "restic"
        program.write_text(
            f"#!/bin/sh\nSSL_CERT_FILE={trusted} SSL_CERT_DIR=/nonexistent"
            f' exec {restic(which)} "$@"\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    return choose
