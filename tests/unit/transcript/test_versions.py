"""The predicate type chooses the rules; unknown ones are refused with what to install."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agency import transcript
from agency.cli import cli
from agency.commandline.main import run
from agency.transcript.verification import verify
from agency.transcript.versions import CURRENT, V1, VERSIONS, UnknownVersionError, version_of

Document = dict[str, Any]
Seal = Callable[[object], bytes]
PREFIX = "urn:agency:spinup-transcript:"


@pytest.fixture
def files(tmp_path: Path, pem: bytes) -> Callable[[bytes], list[str]]:
    """What `agency transcript verify` is called with for an envelope."""

    def write(envelope: bytes) -> list[str]:
        (tmp_path / "boot.json").write_bytes(envelope)
        (tmp_path / "boot.pub").write_bytes(pem)
        file, key = str(tmp_path / "boot.json"), str(tmp_path / "boot.pub")
        return ["transcript", "verify", file, "--key", key]

    return write


@pytest.mark.parametrize("version", VERSIONS.values(), ids=str)
def test_each_version_is_judged_by_its_own_rules(
    version: Any, document: Document, seal: Seal, pem: bytes
) -> None:
    if version is V1:  # it knows no trial of control
        predicate, known = document["predicate"], {*V1.judge.PROBES}
        predicate["probes"] = [one for one in predicate["probes"] if one["name"] in known]
        predicate["gates"] = [one for one in predicate["gates"] if one["name"] != "control"]
    report = verify(seal(document | {"predicateType": version.predicate_type}), pem)
    assert report.ok, report.reasons
    assert report.version is version
    assert isinstance(report.statement, version.statement)
    model = importlib.import_module(version.statement.__module__)
    assert version.predicate_type == model.PREDICATE_TYPE
    assert version.statement.__module__ == f"agency.transcript.rules.{version.name}.model"
    assert vars(version.judge)["__name__"] == f"agency.transcript.rules.{version.name}.judge"


def test_versions_are_told_apart() -> None:
    assert [version.name for version in VERSIONS.values()] == ["v1", "v2"]
    assert (V1.draft, CURRENT.draft) == (False, True)
    assert len({id(version.judge.PROBES) for version in VERSIONS.values()}) == len(VERSIONS)


def test_a_draft_is_said_to_be_one(
    document: Document,
    seal: Seal,
    files: Callable[[bytes], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = files(seal(document))
    assert run(cli, arguments, prog_name="agency") == 0
    assert "rules    v2 (draft): they may change until v2 is released" in capsys.readouterr().out
    assert run(cli, [*arguments, "--json"], prog_name="agency") == 0
    found = json.loads(capsys.readouterr().out)["rules"]
    assert found == {"version": "v2", "predicateType": f"{PREFIX}v2", "draft": True}


REFUSED = [
    ("v3", "newer than this program", "install the agency that made it, or a newer one: pip"),
    ("v12", "newer than this program", "pip install --upgrade agency"),
    ("v0", "never released", "make it again with a released agency"),
    ("v02", "not the predicate type of a spin-up's transcript", ""),
    ("v2-draft", "not the predicate type of a spin-up's transcript", ""),
    ("", "not the predicate type of a spin-up's transcript", ""),
    ("v2\n", "not the predicate type of a spin-up's transcript", ""),
]


@pytest.mark.parametrize(("name", "reason", "advice"), REFUSED, ids=[repr(r[0]) for r in REFUSED])
def test_rules_that_are_not_known_are_refused(
    name: str,
    reason: str,
    advice: str,
    document: Document,
    seal: Seal,
    files: Callable[[bytes], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(cli, files(seal(document)), prog_name="agency") == 0, "it is good otherwise"
    arguments = files(seal(document | {"predicateType": PREFIX + name}))
    capsys.readouterr()
    assert run(cli, arguments, prog_name="agency") == 1
    out = capsys.readouterr().out
    assert "FAIL predicate-type" in out
    assert reason in out
    assert advice in out
    assert run(cli, [*arguments, "--json"], prog_name="agency") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["refusedBy"], found["rules"]) == (False, "predicate-type", None)
    assert run(cli, ["transcript", "show", arguments[2]], prog_name="agency") == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, 2, "", ["urn"], "urn:agency:spinup-transcript"])
def test_what_names_no_rules_is_refused(value: object) -> None:
    with pytest.raises(UnknownVersionError):
        version_of(value)
    assert version_of(CURRENT.predicate_type) is CURRENT


def test_who_needs_one_version_imports_no_other() -> None:
    script = "import sys; from agency.transcript import PROBES, sign, verify; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "agency.transcript.rules.v2.judge" in loaded
    assert "agency.transcript.rules.v1.judge" not in loaded


@pytest.mark.parametrize("version", VERSIONS.values(), ids=str)
def test_schema_and_rules_of_each_version_are_shown(
    version: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["transcript", "schema", "--rules", version.name], prog_name="agency") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["$id"] == f"{version.predicate_type}:schema"
    arguments = ["transcript", "probes", "--rules", version.name]
    assert run(cli, [*arguments, "--json"], prog_name="agency") == 0
    names = [rule["name"] for rule in json.loads(capsys.readouterr().out)]
    assert names == list(version.judge.PROBES)
    assert run(cli, arguments, prog_name="agency") == 0
    assert capsys.readouterr().out.startswith(f"rules {version}")


def test_the_public_names_are_those_of_the_newest_rules() -> None:
    importlib.import_module("agency.transcript.verification")
    found = {name: getattr(transcript, name) for name in transcript.__all__}
    assert found["PROBES"] is CURRENT.judge.PROBES
    assert found["Statement"] is CURRENT.statement
    assert found["PREDICATE_TYPE"] == CURRENT.predicate_type
    assert found["verify"] is verify
    assert not [name for name, value in found.items() if isinstance(value, ModuleType)]
