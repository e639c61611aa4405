"""Demands on run, time, challenge and key: each refuses its mismatch, in the check `required`."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.cli import cli
from agency.commandline import run

Document = dict[str, Any]
Seal = Callable[[object], bytes]


@pytest.fixture
def files(tmp_path: Path, document: Document, seal: Seal, pem: bytes) -> tuple[str, ...]:
    """A transcript with a challenge, that began and ended on 2026-07-01 at noon."""
    document["predicate"]["challenge"] = "a number of the day: 4711"
    (tmp_path / "t.json").write_bytes(seal(document))
    (tmp_path / "t.pub").write_bytes(pem)
    return str(tmp_path / "t.json"), "--key", str(tmp_path / "t.pub")


def verified(files: tuple[str, ...], *more: str, capsys: Any) -> tuple[int, Document]:
    status = run(cli, ["transcript", "verify", *files, *more, "--json"], prog_name="agency")
    return status, json.loads(capsys.readouterr().out)


def required(found: Document) -> list[str]:
    return next(check["reasons"] for check in found["checks"] if check["name"] == "required")


def digest_of(pem: str) -> str:
    """The SHA-256 of a key, by OpenSSL."""
    if shutil.which("openssl") is None:
        pytest.skip("OpenSSL is not installed")
    argv = ["openssl", "pkey", "-pubin", "-in", pem, "-outform", "DER"]
    return hashlib.sha256(subprocess.run(argv, capture_output=True, check=True).stdout).hexdigest()


def test_what_a_program_compares_is_in_the_json(files: tuple[str, ...], capsys: Any) -> None:
    status, found = verified(files, capsys=capsys)
    assert status == 0, found
    assert found["target"] == "local"
    assert found["run"] == "run-0000000000000000"
    assert found["startedAt"] == "2026-07-01T12:00:00.000Z"
    assert found["finishedAt"] == "2026-07-01T12:00:09.500Z"
    assert found["challenge"] == "a number of the day: 4711"
    assert found["keySha256"] == digest_of(files[2])


def test_a_person_reads_them_too(files: tuple[str, ...], capsys: Any) -> None:
    assert run(cli, ["transcript", "verify", *files], prog_name="agency") == 0
    said = capsys.readouterr().out
    for word in ("on target local", "2026-07-01T12:00:00.000Z", "4711", digest_of(files[2])):
        assert word in said


MET: dict[str, tuple[str, str]] = {  # option: what is met, and what is not
    "--target": ("local", "incus"),
    "--run": ("run-0000000000000000", "run-0000000000000001"),
    "--not-before": ("2026-07-01T14:00:00+02:00", "2026-07-01T12:00:00.001Z"),
    "--max-age": ("900000h", "1s"),
    "--challenge": ("a number of the day: 4711", "4711"),
}


@pytest.mark.parametrize("option", MET)
def test_each_demand(option: str, files: tuple[str, ...], capsys: Any) -> None:
    met, unmet = MET[option]
    status, found = verified(files, option, met, capsys=capsys)
    assert (status, required(found)) == (0, [])
    status, found = verified(files, option, unmet, capsys=capsys)
    assert (status, found["authentic"], found["refusedBy"]) == (1, True, "required")
    assert len(required(found)) == 1


def test_a_demanded_key(files: tuple[str, ...], capsys: Any) -> None:
    own = digest_of(files[2])
    spelled = ":".join(own.upper()[n : n + 2] for n in range(0, 64, 2))
    assert verified(files, "--key-sha256", spelled, capsys=capsys)[0] == 0
    status, found = verified(files, "--key-sha256", "0" * 64, capsys=capsys)
    assert (status, found["refusedBy"]) == (1, "required")


def test_a_challenge_that_is_not_there(
    tmp_path: Path, document: Document, seal: Seal, pem: bytes, capsys: Any
) -> None:
    (tmp_path / "t.json").write_bytes(seal(document))
    (tmp_path / "t.pub").write_bytes(pem)
    files = str(tmp_path / "t.json"), "--key", str(tmp_path / "t.pub")
    status, found = verified(files, "--challenge", "x", capsys=capsys)
    assert (status, required(found)) == (1, ["the challenge is None, not x"])


def test_a_time_to_come_is_of_no_known_age(
    tmp_path: Path, document: Document, seal: Seal, pem: bytes, capsys: Any
) -> None:
    text = json.dumps(document).replace("2026-07-01T", "2126-07-01T")
    (tmp_path / "t.json").write_bytes(seal(json.loads(text)))
    (tmp_path / "t.pub").write_bytes(pem)
    files = str(tmp_path / "t.json"), "--key", str(tmp_path / "t.pub")
    assert verified(files, capsys=capsys)[0] == 0
    status, found = verified(files, "--max-age", "1h", capsys=capsys)
    assert status == 1
    assert "still to come" in required(found)[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--target", "mars"),
        ("--not-before", "yesterday"),
        ("--not-before", "2026-07-01T12:00:00"),
        ("--max-age", "2w"),
        ("--max-age", "-1h"),
        ("--key-sha256", "abc"),
    ],
)
def test_a_demand_that_cannot_be_read_is_a_usage_error(
    option: str, value: str, files: tuple[str, ...], capsys: Any
) -> None:
    argv = ["transcript", "verify", *files, option, value]
    assert run(cli, argv, prog_name="agency") == 2
    assert option in capsys.readouterr().err
