"""docs/transcript.md says what the program does, and its commands work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic.alias_generators import to_camel

from agency.transcript.rules.v2.judge import GATES, PROBES
from agency.transcript.rules.v2.model import PREDICATE_TYPE, Predicate, Statement
from agency.transcript.signing import sign
from agency.transcript.verification import AUTHENTIC, JUDGED

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "transcript.md").read_text()


def test_every_probe_is_described_as_its_rule_says() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9.-]+)` \| (.*\.) \|", TEXT, re.MULTILINE))
    described = {name: text.split(" |")[0] for name, text in rows.items() if "." in name}
    assert described == {name: rule.description for name, rule in PROBES.items()}


def test_every_judged_field_is_named(probe: str) -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{probe}` |"))
    for name in PROBES[probe].shape.model_fields:
        stem = re.sub("(Before|After)$", "", to_camel(name))
        assert f"`{stem}`" in row


def test_every_field_of_the_predicate_is_described() -> None:
    for name in Predicate.model_fields:
        assert f"`{to_camel(name)}`" in TEXT
    assert PREDICATE_TYPE in TEXT
    assert all(f"`{gate}`" in TEXT for gate in GATES)


def test_the_checks_are_listed_in_their_order() -> None:
    section = TEXT[TEXT.index("## What verifying checks") : TEXT.index("## The source digest")]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == AUTHENTIC + JUDGED


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is missing")
def test_the_documented_openssl_commands_work(
    statement: Statement, key: Ed25519PrivateKey, pem: bytes, tmp_path: Path
) -> None:
    begin = TEXT.index("### Check the signature with OpenSSL")
    block = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE).search(TEXT, begin)
    assert block is not None
    (tmp_path / "boot_transcript.pub").write_bytes(pem)
    envelope = sign(statement, key)

    def check(data: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "boot_transcript.json").write_bytes(data)
        argv = ["bash", "-euo", "pipefail", "-c", block[1]]
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, timeout=30, text=True
        )

    good = check(envelope)
    assert good.returncode == 0, good.stderr
    assert "Signature Verified Successfully" in good.stdout
    assert Statement.model_validate_json((tmp_path / "payload").read_bytes()) == statement
    middle = len(envelope) // 2
    swapped = b"A" if envelope[middle : middle + 1] != b"A" else b"B"
    assert check(envelope[:middle] + swapped + envelope[middle + 1 :]).returncode != 0
