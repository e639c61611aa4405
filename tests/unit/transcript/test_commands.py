"""`agency transcript` as a person and as a program meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.source_digest import source_digest
from agency.transcript.rules.v2.judge import PROBES
from agency.transcript.schema import schema

Document = dict[str, Any]
Seal = Callable[[object], bytes]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agency(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(cli, ["transcript", *map(str, arguments)], prog_name="agency")
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def key_file(tmp_path: Path, pem: bytes) -> Path:
    path = tmp_path / "boot.pub"
    path.write_bytes(pem)
    return path


@pytest.fixture
def write(tmp_path: Path, seal: Seal) -> Callable[[Document], Path]:
    def sealed(document: Document) -> Path:
        path = tmp_path / "boot.json"
        path.write_bytes(seal(document))
        return path

    return sealed


Write = Callable[[Document], Path]


def test_a_good_transcript_verifies(
    agency: Run, write: Write, document: Document, key_file: Path
) -> None:
    status, out, _ = agency("verify", write(document), "--key", key_file)
    assert status == 0
    assert "verdict: authentic, complete, and PASSED" in out
    assert "source   sha256:" + "a1" * 32 in out
    assert "FAIL" not in out.replace("FAILED", "")


def test_a_failed_one_says_where_and_why(
    agency: Run, write: Write, failed_document: Document, key_file: Path
) -> None:
    status, out, _ = agency("verify", write(failed_document), "--key", key_file)
    assert status == 1
    assert "authentic, but the spin-up FAILED at step homeserver: port taken" in out


def test_a_changed_one_is_refused_as_json_too(
    agency: Run, write: Write, document: Document, key_file: Path
) -> None:
    path = write(document)
    path.write_bytes(path.read_bytes().replace(b"json", b"jsom"))
    status, out, _ = agency("verify", path, "--key", key_file, "--json")
    found = json.loads(out)
    assert status == 1
    assert (found["ok"], found["authentic"], found["refusedBy"]) == (False, False, "signature")
    assert found["subjects"] is None
    assert [check["status"] for check in found["checks"]].count("failed") == 1


def test_json_of_a_good_one(agency: Run, write: Write, document: Document, key_file: Path) -> None:
    status, out, _ = agency("verify", write(document), "--key", key_file, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["result"] == "PASSED"
    assert found["subjects"]["instance"] == {"sha256": "d4" * 32}


def test_what_is_demanded(agency: Run, write: Write, document: Document, key_file: Path) -> None:
    path = write(document)
    good = ("--require", "quarantine.outbound", "--require-gate", "hermetic")
    subject = ("--subject", "source=gitCommit:" + "b2" * 20)
    assert agency("verify", path, "--key", key_file, *good, *subject)[0] == 0
    bad = ("--subject", "source=gitCommit:" + "b3" * 20)
    status, out, _ = agency("verify", path, "--key", key_file, *bad)
    assert status == 1
    assert "the gitCommit of source is" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--require", "homeserver.version"),
        ("--require-gate", "hermetical"),
        ("--subject", "source"),
        ("--source", "/nowhere"),
        ("--keys", "x"),
    ],
)
def test_a_typing_mistake_is_a_wrong_usage(
    agency: Run, write: Write, document: Document, key_file: Path, arguments: tuple[str, str]
) -> None:
    assert agency("verify", write(document), "--key", key_file, *arguments)[0] == 2


def test_the_key_is_needed(agency: Run, write: Write, document: Document) -> None:
    assert agency("verify", write(document))[0] == 2


def test_a_missing_file_is_a_wrong_usage(agency: Run, key_file: Path, tmp_path: Path) -> None:
    assert agency("verify", tmp_path / "none.json", "--key", key_file)[0] == 2


def test_a_bad_key_is_told_apart_from_a_bad_transcript(
    agency: Run, write: Write, document: Document, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pub"
    bad.write_text("ssh-ed25519 AAAA")
    status, _, err = agency("verify", write(document), "--key", bad)
    assert status == 1
    assert "not a public key in PEM" in err


def test_an_endless_file_is_read_only_so_far(agency: Run, key_file: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.json"
    with big.open("wb") as handle:
        handle.truncate(10 * 2**30)
    status, out, _ = agency("verify", big, "--key", key_file)
    assert status == 1
    assert "more than 16 MiB" in out


def test_the_source_that_it_is_about(
    agency: Run, write: Write, document: Document, key_file: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("one")
    document["subject"][0]["digest"] = {"sha256": source_digest(tree).sha256}
    path = write(document)
    assert agency("verify", path, "--key", key_file, "--source", tree)[0] == 0
    (tree / "file").write_text("two")
    status, out, _ = agency("verify", path, "--key", key_file, "--source", tree)
    assert status == 1
    assert "the sha256 of source is" in out
    assert "not a clean git checkout" in out


def test_show_says_that_nothing_was_checked(agency: Run, write: Write, document: Document) -> None:
    document["predicate"]["steps"][3] |= {"status": "failed", "error": "no accounts"}
    status, out, _ = agency("show", write(document))
    assert status == 0
    assert "signature not checked" in out.splitlines()[0]
    assert "no accounts" in out
    assert "it says: PASSED" in out
    assert "its evidence says: FAILED" in out
    for name in (probe["name"] for probe in document["predicate"]["probes"]):
        assert name in out


def test_show_of_a_failure_has_its_log(
    agency: Run, write: Write, failed_document: Document
) -> None:
    _, out, _ = agency("show", write(failed_document))
    assert "failed at step homeserver: port taken" in out
    assert "| in use" in out


def test_show_as_json(agency: Run, write: Write, document: Document) -> None:
    status, out, _ = agency("show", write(document), "--json")
    found = json.loads(out)
    assert status == 0
    assert found["signatureChecked"] is False
    assert found["statement"] == document
    assert found["judged"] == {"result": "PASSED", "reasons": []}


def test_text_in_the_file_cannot_steer_the_terminal(
    agency: Run, write: Write, failed_document: Document, key_file: Path
) -> None:
    evil = "\x1b[2J\x9b31m\u202eDESSAP\u200b[bold]x[/nothing]\r\n"
    body = failed_document["predicate"]
    body["run"] = "run" + evil
    body["failure"] |= {"message": evil, "logTail": [evil]}
    body["steps"][0]["error"] = evil
    body["probes"][0]["reason"] = evil
    body["versions"] = {evil: evil}
    path = write(failed_document)
    for out in (agency("show", path)[1], agency("verify", path, "--key", key_file)[1]):
        assert not {"\x1b", "\x9b", "\u202e", "\u200b", "\r"} & set(out)
        assert "\\u202eDESSAP" in out
        assert "[bold]x[/nothing]" in out


def test_show_of_something_else(agency: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("{}")
    status, _, err = agency("show", path)
    assert status == 1
    assert "not a transcript" in err
    assert "Traceback" not in err


def test_schema_is_printed(agency: Run) -> None:
    status, out, _ = agency("schema")
    assert status == 0
    assert json.loads(out) == schema()


def test_probes_are_listed(agency: Run) -> None:
    status, out, _ = agency("probes", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert status == 0
    assert set(found) == set(PROBES)
    assert found["quarantine.outbound"]["gates"] == ["hermetic"]
    assert found["quarantine.outbound"]["mandatoryFor"] == ["incus"]
    assert {"incus", "local"} <= set(found["control.ready"]["mandatoryFor"])
    _, text, _ = agency("probes")
    assert all(name in text for name in PROBES)


def test_the_trial_of_control_is_told_in_80_columns(
    agency: Run, write: Write, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = agency("show", write(document))
    shown = out[out.index("Control\n") : out.index("Gates\n")]
    assert all(len(line) <= 80 for line in shown.splitlines())
    for words in (
        "secrets delete on secret deploy-token, by the rule secret-delete",
        "asked by @alice:agency.example, and refused to them",
        "approved by @approver:agency.example, and done",
        "6f" * 32,
        "deploy-token, version 1: entered by the form, leased",
        "held by developer (pid 4719), by its own word",
        "developer, pid 4719, ended by SIGKILL (kill(2))",
        "back as pid 4721",
        "agents respawn by system, trace tr-respawn",
    ):
        assert f" {words}" in shown


def test_a_trial_that_was_not_shown_is_not_told(
    agency: Run, write: Write, document: Document
) -> None:
    probes = {probe["name"]: probe for probe in document["predicate"]["probes"]}
    probes["agent.respawned"]["evidence"]["after"]["pid"] = 4719
    probes["secret.delivered"]["mode"] = "simulated"
    probes["approval.granted"]["evidence"] = {"approved": True}
    _, out, _ = agency("show", write(document))
    shown = out[out.index("Control\n") : out.index("Gates\n")]
    assert shown.count("not shown: ") == 3
    assert "not shown: simulated" in shown
    assert "the process from before" in shown
    assert "pid 4719, ended" not in shown


def test_rules_without_the_trial_tell_none_of_it(agency: Run) -> None:
    _, out, _ = agency("show", Path(__file__).parent / "samples/v1/local.json")
    assert "Control\n" not in out


MARKED = "[/x] [link=http://evil]here[/link] [bold]"


def named_with_markup(document: Document) -> Document:
    """Put markup into every name and text that a transcript has."""
    predicate = document["predicate"]
    predicate["run"] = predicate["environment"]["os"] = MARKED
    predicate["steps"][0].update(name=MARKED, error=MARKED)
    predicate["probes"][0].update(name=MARKED, reason=MARKED)
    predicate["scenario"][0].update(name=MARKED, said=MARKED, by=MARKED)
    predicate["gates"][0].update(name=MARKED, reason=MARKED)
    predicate["failure"] = {"step": MARKED, "message": MARKED, "logTail": [MARKED]}
    predicate["versions"] = {MARKED: MARKED}
    return document


def test_names_are_never_markup(
    agency: Run, write: Write, document: Document, key_file: Path
) -> None:
    path = write(named_with_markup(document))
    status, out, err = agency("show", path)
    assert (status, err) == (0, "")
    assert out.count(MARKED) > 10
    status, out, err = agency("verify", path, "--key", key_file)
    assert (status, err) == (1, "")
    assert MARKED in out
