"""`agency init`: a whole instance with a real key and real encryption, or nothing."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agency import programs
from agency.errors import BadInputError, PrerequisiteError
from agency.instance.load import load_instance
from agency.instance.making import create
from agency.instance.needs import required_secrets
from agency.secrets.classes import SecretClass
from agency.secrets.encryption import age, sops
from agency.secrets.values import SecretValue

Agency = Callable[..., int]
FLAGS = ("--domain", "agency.example.org", "--operator", "@alice:agency.example.org")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_is_made(made: Any) -> None:
    assert names(made.root) == {
        "instance.yaml",
        "generated",
        "secrets",
        ".sops.yaml",
        ".gitignore",
        "flake.nix",
        "host.nix",
        ".gitattributes",
    }
    loaded = load_instance(made.root)
    assert list(loaded.instance.agents) == ["pm", "developer"]
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.key.parent.stat().st_mode & 0o777 == 0o700
    assert age.public_keys_of(SecretValue(made.key.read_text())) == set(
        loaded.instance.secrets.recipients.values()
    )
    assert list(loaded.instance.secrets.recipients) == ["alice"]
    values = sops.decrypt(made.encrypted, made.key)
    wanted = {s.name for s in required_secrets(loaded.instance) if s.cls is SecretClass.A2}
    assert set(values) == wanted
    assert made.root.stat().st_mode & 0o777 == 0o755


def test_it_passes_every_check(made: Any, agency: Agency) -> None:
    assert agency("check", made.root) == 0
    assert agency("check", made.root, "--decrypt") == 0
    assert agency("render", "--check", made.root) == 0
    assert agency("secrets", "doctor", made.root) == 0


def test_no_plain_secret_is_in_the_directory(made: Any) -> None:
    values = sops.decrypt(made.encrypted, made.key)
    identity = made.key.read_text().splitlines()[-1]
    needles = [identity, *(value.reveal().strip() for value in values.values())]
    assert len(needles) > 5
    for path in made.root.rglob("*"):
        if path.is_file():
            assert not [n for n in needles if n in path.read_text()], path


def test_two_instances_share_nothing(made: Any, tmp_path: Path, agency: Agency) -> None:
    assert agency("init", tmp_path / "other", *FLAGS) == 0
    other_key = made.key.parents[1] / "other" / "age.key"
    one = sops.decrypt(made.encrypted, made.key)
    two = sops.decrypt(tmp_path / "other" / "secrets" / "secrets.yaml", other_key)
    assert one.keys() == two.keys()
    assert all(one[name] != two[name] for name in one)


def test_json_tells_what_is_missing_and_where_it_goes(
    tmp_path: Path, agency: Agency, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "big"
    flags = ("--enable", "gitlab", "--enable", "k3s", "--enable", "ci")
    assert agency("init", root, *FLAGS, *flags, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    missing = {entry["name"]: entry for entry in document["secretsMissing"]}
    assert set(missing) == {"wildcard-certificate", "wildcard-certificate-key"}
    remedy = missing["wildcard-certificate"]["remedy"]
    assert f"agency secrets set wildcard-certificate --instance {root}" in remedy
    assert [entry["name"] for entry in document["secretsOptional"]] == ["registry-credentials"]
    assert "gitlab-jws-key" in document["secretsGenerated"]
    assert "k3s-token" in document["secretsGenerated"]
    assert document["recipient"].startswith("age1")
    added = [(one["needs"], one["service"]) for one in document["servicesAdded"]]
    assert added == [("edge", "gitlab"), ("swarm", "ci"), ("traefik", "ci")]
    assert document["leftToHost"] == []
    assert agency("check", root) == 1


def test_every_flag_arrives(tmp_path: Path, agency: Agency) -> None:
    other = age.new_key().recipient
    key = tmp_path / "elsewhere" / "my.key"
    status = agency(
        *("init", tmp_path / "x", "--name", "acme", "--domain", "a.example"),
        *("--operator", "@al.ice:a.example", "--operator", "@bob:b.example"),
        *("--agent", "no=pm", "--enable", "element"),
        *("--recipient", f"host={other}", "--age-key", key, "--federation"),
    )
    assert status == 0
    instance = load_instance(tmp_path / "x").instance
    assert (instance.name, instance.domain) == ("acme", "a.example")
    assert instance.operators == ["@al.ice:a.example", "@bob:b.example"]
    assert instance.services.matrix.federation
    assert instance.services.edge.enable
    assert {name: agent.role for name, agent in instance.agents.items()} == {"no": "pm"}
    assert instance.services.element.enable
    assert instance.secrets.recipients == {
        "operator": next(iter(age.public_keys_of(SecretValue(key.read_text())))),
        "host": other,
    }


def test_a_service_brings_what_it_needs(
    tmp_path: Path, agency: Agency, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "acme"
    assert agency("init", root, *FLAGS, "--enable", "bridge", "--preview", "mail") == 0
    assert load_instance(root).instance.preview == ["mail"]
    said = capsys.readouterr().err
    assert "swarm is on too: ci needs it, as a run deploys" in said
    assert "ci needs a forge: turn gitlab on too, or set forge.url in instance.yaml" in said


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("--operator", "@a:b.example"), 2, "--domain is needed"),
    (("--domain", "b.example"), 2, "--operator is needed"),
    (("--domain", "http://b.example", "--operator", "@a:b.example"), 2, "without a scheme"),
    (("--domain", "b.example", "--operator", "a"), 2, "full Matrix id"),
    ((*FLAGS, "--agent", "pm"), 2, "name=role"),
    ((*FLAGS, "--agent", "Pm=x"), 2, "a-z"),
    ((*FLAGS, "--agent", "pm=x", "--agent", "pm=y"), 2, "there twice"),
    ((*FLAGS, "--enable", "gitlap"), 2, "must be one of"),
    ((*FLAGS, "--recipient", "alice=age1" + "q" * 58), 2, "there twice"),
    ((*FLAGS, "--recipient", "bob=ssh-ed25519 x"), 2, "age public key"),
    ((*FLAGS, "--name", "Acme"), 2, "a-z"),
    ((*FLAGS, "--preview", "teapot"), 2, "is not a feature whose program is unwritten"),
    ((*FLAGS, *FLAGS[2:]), 1, "listed twice"),
    ((*FLAGS, "--operator", "@bob:other.example"), 1, "federation is off"),
    ((*FLAGS, "--operator", "@agent-pm:agency.example.org"), 1, "name a person"),
]


@pytest.mark.parametrize(("flags", "status", "words"), REFUSED)
def test_wrong_flags_make_nothing(
    tmp_path: Path,
    own_state: Path,
    agency: Agency,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    assert agency("init", tmp_path / "x", *flags) == status
    assert words in capsys.readouterr().err
    assert names(tmp_path) == set()
    assert not own_state.exists()


class TestNothingIsOverwritten:
    """And what was there stays as it was."""

    def snapshot(self, root: Path) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def test_an_instance(self, made: Any, tmp_path: Path, agency: Agency) -> None:
        before = self.snapshot(tmp_path)
        assert agency("init", made.root, *FLAGS, "--age-key", tmp_path / "other.key") == 1
        assert self.snapshot(tmp_path) == before

    def test_a_key(self, made: Any, tmp_path: Path, agency: Agency) -> None:
        before = self.snapshot(tmp_path)
        assert agency("init", tmp_path / "other", *FLAGS, "--age-key", made.key) == 1
        assert self.snapshot(tmp_path) == before
        assert not (tmp_path / "other").exists()

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_anything_else(self, tmp_path: Path, agency: Agency, kind: str) -> None:
        root = tmp_path / "x"
        if kind == "file":
            root.write_text("mine")
        else:
            root.symlink_to(tmp_path / "nowhere")
        assert agency("init", root, *FLAGS) == 1
        assert names(tmp_path) == {"x"}

    def test_an_empty_directory_may_be_used(self, tmp_path: Path, agency: Agency) -> None:
        (tmp_path / "x").mkdir()
        assert agency("init", tmp_path / "x", *FLAGS) == 0

    def test_a_key_inside_the_instance_is_refused(self, tmp_path: Path, agency: Agency) -> None:
        assert agency("init", tmp_path / "x", *FLAGS, "--age-key", tmp_path / "x" / "k") == 1
        assert names(tmp_path) == set()


def test_a_key_that_appears_in_the_meantime_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "age.key"
    target.write_text("mine")
    with pytest.raises(BadInputError, match="never replaced"):
        age.store_key(age.new_key(), target)
    assert target.read_text() == "mine"


def test_a_key_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    key = age.new_key()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrerequisiteError, match="No space left"):
        age.store_key(key, tmp_path / "age.key")
    assert names(tmp_path) == set()


def test_a_missing_program_is_named(
    tmp_path: Path,
    agency: Agency,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_OF_CHECKOUT", tmp_path)
    assert agency("init", tmp_path / "x", *FLAGS) == 3
    assert "'sops' is not installed" in capsys.readouterr().err
    assert names(tmp_path) == set()


STEPS = ["fill", "_fill_directory", "write_rendered", "generate", "store_key", "_publish"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path,
    own_state: Path,
    agency: Agency,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(create, step, fail)
    assert agency("init", tmp_path / "x", *FLAGS) in {3, 4, 130}
    assert names(tmp_path) <= {"state"}
    assert not list(own_state.rglob("age.key"))


@pytest.mark.parametrize("error", [OSError(39, "Directory not empty"), KeyboardInterrupt()])
def test_a_failure_of_the_last_step_takes_the_key_back(
    tmp_path: Path,
    own_state: Path,
    agency: Agency,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    keys: list[bool] = []

    def fail(*_: object) -> None:
        keys.extend(path.is_file() for path in own_state.rglob("age.key"))
        raise error

    real = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda self, to: fail() if to == tmp_path / "x" else real(self, to)
    )
    assert agency("init", tmp_path / "x", *FLAGS) in {3, 130}
    assert keys == [True]
    assert names(tmp_path) == {"state"}
    assert not list(own_state.rglob("age.key"))


def test_a_place_that_cannot_be_written(agency: Agency, own_state: Path) -> None:
    assert agency("init", "/proc/x", *FLAGS) == 3
    assert not own_state.exists()


def converse(argv: list[str], answers: list[tuple[str, str]], env: dict[str, str]) -> str:
    """Run a program on a terminal of its own; answer each question once it is asked."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        argv, stdin=child, stdout=child, stderr=child, env=env, start_new_session=True
    )
    os.close(child)
    seen, waiting, deadline = "", list(answers), time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([parent], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(parent, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            seen += chunk.decode()
            if waiting and waiting[0][0] in seen.rpartition("\x00")[2]:
                os.write(parent, f"{waiting.pop(0)[1]}\n".encode())
                seen += "\x00"
        assert process.wait(timeout=10) == 0, seen
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert not waiting, seen
    return seen


def made_with(tmp_path: Path, *flags: str) -> tuple[dict[str, Any], str]:
    root = tmp_path / "acme"
    argv = [sys.executable, "-m", "agency", "init", str(root), *FLAGS, *flags]
    done = subprocess.run(argv, capture_output=True, check=True, text=True, env={
        **os.environ, "XDG_STATE_HOME": str(tmp_path / "state"),
    })  # fmt: skip
    return yaml.safe_load((root / "instance.yaml").read_text()), done.stderr


@pytest.mark.parametrize(
    ("flags", "written", "told"),
    [
        ((), {}, True),
        (
            ("--approver", "@bob:agency.example.org"),
            {"approvers": ["@bob:agency.example.org"]},
            False,
        ),
        (("--solo-delay", "60"), {"approvals": {"soloDelay": 60}}, False),
        (("--operator", "@bob:agency.example.org"), {}, False),
    ],
)
def test_who_approves_is_chosen_or_that_nobody_can_is_told(
    tmp_path: Path, flags: tuple[str, ...], written: dict[str, Any], told: bool
) -> None:
    instance, said = made_with(tmp_path, *flags)
    found = {key: instance[key] for key in ("approvers", "approvals") if key in instance}
    assert found == written
    assert ("nobody can approve" in said) is told


def test_the_only_operator_is_asked_who_approves(tmp_path: Path) -> None:
    question = "Who else approves what needs an approval; solo: you alone, after 60 s [solo]:"
    seen = converse(
        [
            sys.executable, "-m", "agency", "init", str(tmp_path / "acme"), *FLAGS,
            "--name=acme", "--agent=pm=pm", "--enable=edge",
        ],
        [(question, "@alice:agency.example.org"), (question, "")],
        {**os.environ, "TERM": "dumb", "COLUMNS": "200", "XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip
    assert "must be another person, or solo" in seen
    instance = yaml.safe_load((tmp_path / "acme" / "instance.yaml").read_text())
    assert instance["approvals"] == {"soloDelay": 60}


def test_on_a_terminal_it_asks_and_asks_again(tmp_path: Path) -> None:
    seen = converse(
        [sys.executable, "-m", "agency", "init", str(tmp_path / "acme")],
        [
            ("Name of the instance [acme]:", ""),
            ("Domain (the Matrix server name):", "https://a.example"),
            ("Domain (the Matrix server name):", "a.example"),
            (
                "Operators, as @alice:a.example (separated by spaces):",
                "@bob:a.example @eve:a.example",
            ),
            ("Agents, as name=role (separated by spaces) [pm=pm developer=developer]:", "one=pm"),
            ("(separated by spaces) []:", "element"),
        ],
        {**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    )
    assert "must be a bare domain without a scheme: a.example" in seen
    instance = yaml.safe_load((tmp_path / "acme" / "instance.yaml").read_text())
    assert instance["name"] == "acme"
    assert instance["domain"] == "a.example"
    assert instance["operators"] == ["@bob:a.example", "@eve:a.example"]
    assert instance["agents"] == {"one": {"role": "pm"}}
    on = {"enable": True}
    assert instance["services"] == {"matrix": on, "element": on, "edge": on}
    assert "edge is on too: element needs it" in seen
