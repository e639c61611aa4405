"""A released version of the rules keeps its meaning: frozen files, samples signed at its release.

None of this is ever adapted to a change of the code: where it fails, the change is wrong.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.transcript import rules
from agency.transcript.verification import Policy, verify
from agency.transcript.versions import V1, VERSIONS

HERE = Path(__file__).parent
RULES = Path(rules.__path__[0])
RELEASED = [version.name for version in VERSIONS.values() if not version.draft]
SAMPLES = sorted(HERE.glob("samples/*/*.json"))
V1_SAMPLES = [path for path in SAMPLES if path.parent.name == "v1"]

Seal = Callable[[object], bytes]
each_sample = pytest.mark.parametrize(
    "sample", SAMPLES, ids=[f"{path.parent.name}-{path.stem}" for path in SAMPLES]
)
each_v1_sample = pytest.mark.parametrize(
    "sample", V1_SAMPLES, ids=[path.stem for path in V1_SAMPLES]
)


def lock(version: str) -> dict[str, str]:
    """The digests of a version's files at its release, by path."""
    lines = (HERE / f"rules_{version}.sha256").read_text().splitlines()
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines)}


def digests(base: Path, version: str) -> dict[str, str]:
    """The digests of a version's files as they are."""
    return {
        str(path.relative_to(base)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (base / version).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def payload(sample: Path) -> Any:
    return json.loads(base64.b64decode(json.loads(sample.read_bytes())["payload"]))


@pytest.mark.parametrize("version", RELEASED)
def test_released_rules_are_as_they_were_released(version: str) -> None:
    assert digests(RULES, version) == lock(version), (
        f"rules/{version} was released and is never edited: change the draft (docs/transcript.md)"
    )


@pytest.mark.parametrize("how", ["edited", "added", "removed"])
def test_a_change_of_released_rules_would_be_noticed(how: str, tmp_path: Path) -> None:
    shutil.copytree(RULES / "v1", tmp_path / "v1")
    assert digests(tmp_path, "v1") == lock("v1")
    file = tmp_path / "v1" / ("more.py" if how == "added" else "times.py")
    if how == "removed":
        file.unlink()
    else:
        file.write_text(file.read_text() + "\n" if file.exists() else "")
    assert digests(tmp_path, "v1") != lock("v1")


def imported(file: Path) -> set[str]:
    """The modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("version", RELEASED)
def test_released_rules_stand_on_nothing_that_may_change(version: str) -> None:
    files = list((RULES / version).glob("*.py"))
    own = f"agency.transcript.rules.{version}"
    of_ours = {module for file in files for module in imported(file) if module.startswith("agency")}
    assert len(of_ours) > 10
    assert {module for module in of_ours if module != own and not module.startswith(own + ".")} == (
        set()
    )


def test_every_target_has_a_sample() -> None:
    for version in RELEASED:
        of_version = [path for path in SAMPLES if path.parent.name == version]
        targets = {payload(path)["predicate"]["target"] for path in of_version}
        assert targets == {"local", "incus", "ssh"}


@each_sample
def test_a_sample_passes_for_ever(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = verify(sample.read_bytes(), sample.with_suffix(".pub").read_bytes())
    assert report.reasons == ()
    assert report.verdict.startswith("authentic, complete, and PASSED")
    arguments = ["transcript", "verify", str(sample), "--key", str(sample.with_suffix(".pub"))]
    assert run(cli, arguments, prog_name="agency") == 0
    rules = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("rules"))
    assert rules.split() == ["rules", sample.parent.name]
    assert run(cli, [*arguments, "--json"], prog_name="agency") == 0
    assert json.loads(capsys.readouterr().out)["rules"] == {
        "version": sample.parent.name,
        "predicateType": payload(sample)["predicateType"],
        "draft": False,
    }


@each_sample
def test_a_sample_with_a_flipped_bit_is_refused(sample: Path) -> None:
    data, key = sample.read_bytes(), sample.with_suffix(".pub").read_bytes()
    document = json.loads(data)
    middle = len(document["payload"]) // 2
    places = {
        "payload": data.index(document["payload"].encode()) + middle,
        "signature": data.index(document["signatures"][0]["sig"].encode()) + 10,
        "type": data.index(b"in-toto"),
        "frame": data.index(b"payload"),
    }
    for place in places.values():
        for bit in range(7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            assert not verify(bytes(flipped), key).authentic


@each_v1_sample
def test_a_sample_fits_the_schema_of_its_release(sample: Path) -> None:
    jsonschema.validate(payload(sample), json.loads(V1.schema_text()))


@each_v1_sample
def test_released_rules_still_refuse(sample: Path, seal: Seal, pem: bytes) -> None:
    """Signed again as they are they pass; with a probe missing or seen wrongly they do not."""
    document = payload(sample)
    assert verify(seal(document), pem).ok
    probes = document["predicate"]["probes"]
    for index, entry in enumerate(list(probes)):
        if not entry["mandatory"]:
            continue
        probes.pop(index)
        assert verify(seal(document), pem).refused_by == "completeness"
        probes.insert(index, {**entry, "evidence": {}})
        assert verify(seal(document), pem).refused_by == "claims"
        probes[index] = {**entry, "mode": "simulated"}
        assert verify(seal(document), pem).refused_by in ("evidence", "claims")
        probes[index] = entry
    demanded = Policy(probes=("activation.first", "suite.host"))
    assert verify(seal(document), pem, policy=demanded).refused_by == "required"
