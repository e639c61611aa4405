"""Changes of secrets: only what is new is encrypted, and nothing else of the file is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agency.locks import take
from agency.secrets.editing import change
from agency.secrets.encryption import sops
from agency.secrets.encryption.document import read_document
from agency.secrets.values import SecretValue

Agency = Callable[..., int]


def edit_by(script: str, tmp_path: Path) -> Path:
    """Make an editor that runs a shell script on the file, $1."""
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    editor.chmod(0o755)
    return editor


def with_comment(made: Any, agency: Agency, tmp_path: Path, monkeypatch: Any) -> None:
    """Put a comment before a secret, as a person does in an editor."""
    script = "sed -i 's/^matrix-hs-token/# of the homeserver\\nmatrix-hs-token/' \"$1\""
    monkeypatch.setenv("EDITOR", str(edit_by(script, tmp_path)))
    assert agency("secrets", "edit", made.root, "--yes") == 0


def enable_k3s(made: Any, agency: Agency) -> None:
    config = made.root / "instance.yaml"
    text = config.read_text().replace("services:\n", "services:\n  k3s: {enable: true}\n")
    config.write_text(text)
    assert agency("render", made.root) == 0


def lines(made: Any) -> list[str]:
    text: str = made.encrypted.read_text()
    return [line for line in text.splitlines() if "mac:" not in line and "lastmod" not in line]


class TestGenerate:
    """`generate` adds, and touches nothing else."""

    def test_comments_lines_mode_and_link_stay(
        self, made: Any, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_comment(made, agency, tmp_path, monkeypatch)
        target = tmp_path / "elsewhere.yaml"
        made.encrypted.rename(target)
        target.chmod(0o600)
        made.encrypted.symlink_to(target)
        before = lines(made)
        assert any(line.startswith("#ENC[") for line in before)
        enable_k3s(made, agency)
        assert agency("secrets", "generate", made.root) == 0
        after = lines(made)
        assert [line for line in after if line in before] == before
        new = [line.split(":")[0].strip() for line in after if line not in before]
        assert new == ["k3s-token", "k3s-token"]  # the value, and the date of its change
        assert made.encrypted.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o600
        plain = sops.opened_text(made.encrypted, target.read_bytes(), made.key)
        assert "# of the homeserver\nmatrix-hs-token" in plain

    def test_dry_run_names_them_and_writes_nothing(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        enable_k3s(made, agency)
        before = made.encrypted.read_bytes()
        capsys.readouterr()
        assert agency("secrets", "generate", made.root, "--dry-run") == 0
        assert capsys.readouterr().out == "missing: k3s-token\n"
        assert made.encrypted.read_bytes() == before

    def test_date_of_each_secret_is_recorded(self, made: Any) -> None:
        document = read_document(made.encrypted)
        assert set(document.changed) == set(document.values)


class TestSet:
    """`set` takes a value from a file or standard input, checks it, and stores it."""

    def value(self, made: Any, name: str) -> str:
        return sops.decrypt(made.encrypted, made.key)[name].reveal()

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_line_break_at_the_end_is_left_out(
        self, made: Any, agency: Agency, tmp_path: Path, end: str
    ) -> None:
        (tmp_path / "value").write_bytes(f"a new token{end}".encode())
        where = ("--instance", made.root, "--yes")
        before = lines(made)
        assert (
            agency("secrets", "set", "matrix-as-token", *where, "--file", tmp_path / "value") == 0
        )
        assert self.value(made, "matrix-as-token") == "a new token"
        changed = [line for line in before if line not in lines(made)]
        assert [line.split(":")[0] for line in changed] == ["matrix-as-token"]

    def test_standard_input(
        self, made: Any, agency: Agency, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        stdin = io.TextIOWrapper(io.BytesIO(b"yes: 'null' \xc3\xbc # 123\n"))
        monkeypatch.setattr(sys, "stdin", stdin)
        capsys.readouterr()
        assert agency("secrets", "set", "matrix-as-token", "--instance", made.root, "--yes") == 0
        assert self.value(made, "matrix-as-token") == "yes: 'null' ü # 123"
        said = capsys.readouterr().out
        assert "matrix-synapse.service" in said
        assert "null" not in said

    @pytest.mark.parametrize("text", ["2024-01-01", "0123456", "true-ish", "~x: {}[]", "1e10000"])
    def test_value_that_looks_like_another_type_stays_text(
        self, made: Any, agency: Agency, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "value").write_text(text)
        where = ("--instance", made.root, "--yes", "--file", tmp_path / "value")
        assert agency("secrets", "set", "matrix-as-token", *where) == 0
        assert self.value(made, "matrix-as-token") == text

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("matrix-as-token", "one line\nand another", "has several lines"),
            ("matrix-as-token", "abc", "shorter than"),
            ("matrix-signing-key", "ed25519 hunter2", "not a signing key"),
            ("transcript-signing-key", "hunter2 hunter2", "not a private key in PEM"),
            ("matrix-as-tokens", "some long value", "has no secret"),
            ("operator-password", "some long value", "not kept in the file"),
        ],
    )
    def test_wrong_value_changes_nothing(
        self,
        made: Any,
        agency: Agency,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        name: str,
        content: str,
        words: str,
    ) -> None:
        before = made.encrypted.read_bytes()
        (tmp_path / "value").write_text(content)
        where = ("--instance", made.root, "--yes", "--file", tmp_path / "value")
        assert agency("secrets", "set", name, *where) == 1
        said = capsys.readouterr().err
        assert words in said
        assert "hunter2" not in said
        assert made.encrypted.read_bytes() == before

    def test_secret_of_a_feature_that_only_a_host_declares(
        self, made: Any, agency: Agency, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "value").write_text("a mail password")
        where = ("--instance", made.root, "--yes", "--file", tmp_path / "value")
        for name in ("agent-pm-mail-password", "agent-elsewhere-mail-password"):
            assert agency("secrets", "set", name, *where) == 0
        rotate = ("secrets", "rotate", "agent-pm-ssh-passphrase", "--instance", made.root, "--yes")
        assert agency(*rotate) == 0
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["superfluous"] == []
        of_features = [one["name"] for one in document["ofFeatures"]]
        assert "agent-pm-tailnet-auth-key" in of_features
        assert "agent-pm-mail-password" not in of_features
        assert agency("secrets", "list", made.root) == 0
        assert "agent-pm-mail-password" in capsys.readouterr().out


class TestRotate:
    """`rotate` makes what a generator makes, and says of the rest how it is rotated."""

    def test_new_values_and_their_restarts(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sops.decrypt(made.encrypted, made.key)
        names = ("matrix-as-token", "matrix-form-secret")
        capsys.readouterr()
        assert agency("secrets", "rotate", *names, "--instance", made.root, "--yes", "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["restarts"] == ["agency-control.service", "matrix-synapse.service"]
        assert "together with matrix-hs-token" in answer["notes"]["matrix-as-token"]
        after = sops.decrypt(made.encrypted, made.key)
        assert {name for name in before if before[name] != after[name]} == set(names)

    def test_dry_run_changes_nothing(self, made: Any, agency: Agency) -> None:
        before = made.encrypted.read_bytes()
        where = ("--instance", made.root, "--dry-run")
        assert agency("secrets", "rotate", "matrix-as-token", *where) == 0
        assert made.encrypted.read_bytes() == before

    def test_issued_and_foreign_ones_are_told(
        self, tmp_path: Path, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "big"
        flags = ("--domain", "a.example", "--operator", "@a:a.example")
        assert agency("init", root, *flags, "--enable", "gitlab", "--enable", "edge") == 0
        file = root / "secrets/secrets.yaml"
        before = file.read_bytes()
        names = ("gitlab-runner-token", "wildcard-certificate", "gitlab-db-key", "matrix-as-token")
        capsys.readouterr()
        assert agency("secrets", "rotate", *names, "--instance", root, "--yes") == 1
        said = " ".join(capsys.readouterr().err.split())
        assert "agency reconcile gitlab-bootstrap" in said
        assert f"agency secrets set wildcard-certificate --instance {root}" in said
        assert "a new key cannot read data" in said
        assert file.read_bytes() == before


class TestEdit:
    """`edit` finds sops and the key by itself, and keeps what was edited."""

    def test_sops_and_the_key_are_found_without_a_variable(
        self, made: Any, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = (
            'sed -i "s/^matrix-as-token: .*/matrix-as-token: edited by hand/" "$1"\necho "$HOME" > '
        )
        monkeypatch.setenv("EDITOR", str(edit_by(f"{script}{tmp_path}/home", tmp_path)))
        assert agency("secrets", "edit", made.root, "--yes") == 0
        values = sops.decrypt(made.encrypted, made.key)
        assert values["matrix-as-token"].reveal() == "edited by hand"
        assert (tmp_path / "home").read_text().strip() == os.environ["HOME"]

    def test_nothing_changed(
        self, made: Any, agency: Agency, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        before = made.encrypted.read_bytes()
        monkeypatch.setenv("EDITOR", "true")
        capsys.readouterr()
        assert agency("secrets", "edit", made.root) == 0
        assert "nothing changed" in capsys.readouterr().out
        assert made.encrypted.read_bytes() == before

    def test_wrong_value_is_refused_and_kept_aside_encrypted(
        self, made: Any, agency: Agency, tmp_path: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        before = made.encrypted.read_bytes()
        script = 'sed -i "s/^matrix-as-token: .*/matrix-as-token: ab/" "$1"'
        monkeypatch.setenv("EDITOR", str(edit_by(script, tmp_path)))
        assert agency("secrets", "edit", made.root, "--yes") == 1
        aside = made.encrypted.with_name("secrets.edited.yaml")
        assert str(aside) in capsys.readouterr().err.replace("\n", "")
        assert made.encrypted.read_bytes() == before
        assert "matrix-as-token: ENC[" in aside.read_text()

    def test_change_by_another_command_meanwhile_is_not_overwritten(
        self, made: Any, agency: Agency, tmp_path: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        script = (
            f'"{sys.executable}" -m agency secrets rotate matrix-form-secret --yes'
            f' --instance "{made.root}"\n'
            'sed -i "s/^matrix-as-token: .*/matrix-as-token: edited by hand/" "$1"'
        )
        before = sops.decrypt(made.encrypted, made.key)
        monkeypatch.setenv("EDITOR", str(edit_by(script, tmp_path)))
        assert agency("secrets", "edit", made.root, "--yes") == 1
        assert "changed by another program" in capsys.readouterr().err
        after = sops.decrypt(made.encrypted, made.key)
        assert after["matrix-form-secret"] != before["matrix-form-secret"]
        assert after["matrix-as-token"] == before["matrix-as-token"]
        edited = sops.decrypt(made.encrypted.with_name("secrets.edited.yaml"), made.key)
        assert edited["matrix-as-token"].reveal() == "edited by hand"


class TestOddValues:
    """Empty, null, nested and plain values: each is told as what it is, and blocks nothing else."""

    def put(self, made: Any, json_value: str, name: str = "matrix-as-token") -> None:
        made.sops("set", str(made.encrypted), f'["{name}"]', json_value)

    @pytest.mark.parametrize("value", ['""', "null"])
    def test_empty(self, made: Any, agency: Agency, capsys: Any, value: str) -> None:
        self.put(made, value)
        capsys.readouterr()
        assert agency("check", made.root) == 1
        said = capsys.readouterr().out
        assert "matrix-as-token: is empty" in said
        assert "exposed" not in said
        assert agency("secrets", "generate", made.root) == 0
        assert agency("check", made.root, "--decrypt") == 0

    @pytest.mark.parametrize(
        ("value", "words"), [('{"a": "b"}', "a mapping or a list"), ("12345678", "a number")]
    )
    def test_no_text(self, made: Any, agency: Agency, capsys: Any, value: str, words: str) -> None:
        self.put(made, value)
        capsys.readouterr()
        assert agency("check", made.root) == 1
        said = capsys.readouterr().out
        assert words in said
        assert "exposed" not in said
        assert agency("secrets", "doctor", made.root) == 1
        assert words in capsys.readouterr().out
        rotate = ("secrets", "rotate", "matrix-as-token", "--instance", made.root, "--yes")
        assert agency(*rotate) == 0  # the remedy
        assert agency("check", made.root, "--decrypt") == 0

    @pytest.mark.parametrize("end", ["\\n", "\\r\\n", " "])
    def test_line_break_or_space_at_the_end(
        self, made: Any, agency: Agency, capsys: Any, end: str
    ) -> None:
        self.put(made, f'"a token of some length{end}"')
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root) == 1
        assert "which is part of the value" in capsys.readouterr().out

    def test_line_break_in_a_secret_of_a_feature(
        self, made: Any, agency: Agency, capsys: Any
    ) -> None:
        """Only a host declares that it is needed; its form is known all the same."""
        self.put(made, '"a mail password"', "agent-pm-mail-password")
        assert agency("secrets", "doctor", made.root) == 0
        self.put(made, '"a mail password\\n"', "agent-pm-mail-password")
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root) == 1
        said = capsys.readouterr().out
        assert "agent-pm-mail-password: ends with a line break, which is part of" in said

    def test_line_lost_in_a_merge(self, made: Any, agency: Agency, capsys: Any) -> None:
        kept = [
            line
            for line in made.encrypted.read_text().splitlines(keepends=True)
            if not line.startswith("matrix-as-token")
        ]
        made.encrypted.write_text("".join(kept))
        assert agency("secrets", "generate", made.root) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"agency secrets rekey --ignore-mac {made.root}" in said
        before = sops.names_in_file(made.encrypted)
        assert agency("secrets", "rekey", "--ignore-mac", made.root, "--yes") == 0
        assert sops.names_in_file(made.encrypted) == before
        assert agency("secrets", "generate", made.root) == 0
        assert agency("check", made.root, "--decrypt") == 0


def on_a_terminal(argv: list[str], columns: int) -> list[str]:
    """Run a program on a terminal of that width; returns its lines."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, env=env)
    os.close(child)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while chunk := os.read(parent, 65536):
            seen += chunk
    os.close(parent)
    assert process.wait(timeout=30) == 0, seen
    return re.sub(rb"\x1b\[[0-9;]*m", b"", seen).decode().splitlines()


@pytest.mark.parametrize("columns", [80, 60, 120])
def test_list_keeps_class_state_and_name_on_a_terminal(
    tmp_path: Path, agency: Agency, columns: int
) -> None:
    root = tmp_path / "big"
    flags = ("--domain", "a.example", "--operator", "@a:a.example", "--enable", "gitlab")
    assert agency("init", root, *flags, "--agent", f"{'a' * 25}=x") == 0
    rows = on_a_terminal([sys.executable, "-m", "agency", "secrets", "list", str(root)], columns)
    assert max(len(row.rstrip()) for row in rows) <= columns
    assert rows[0].split()[:3] == ["class", "state", "name"]
    (row,) = [row for row in rows if "gitlab-active-record-salt" in row]
    assert row.split()[:4] == ["A2", "in", "the", "file"]
    whole = "".join(row[25:].split()[0] for row in rows if row[25:].strip())
    assert "gitlab-active-record-deterministic-key" in whole
    assert ("encrypts searchable records" in "".join(rows)) == (columns == 120)


def test_overdue_ones_are_named(made: Any, agency: Agency, capsys: Any) -> None:
    content = sops.encrypt(
        sops.decrypt(made.encrypted, made.key),
        sops.recipients_in_file(made.encrypted),
        changed={"matrix-as-token": "2020-01-01", "matrix-signing-key": "2020-01-01"},
    )
    made.encrypted.write_bytes(content)
    capsys.readouterr()
    assert agency("secrets", "doctor", made.root, "--json") == 0
    (overdue,) = json.loads(capsys.readouterr().out)["overdue"]  # the other has no period
    assert overdue["name"] == "matrix-as-token"
    assert "agency secrets rotate matrix-as-token" in overdue["remedy"]
    rotate = ("secrets", "rotate", "matrix-as-token", "--instance", made.root, "--yes")
    assert agency(*rotate) == 0
    capsys.readouterr()
    assert agency("secrets", "doctor", made.root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["overdue"] == []


def test_values_are_in_no_argument_and_no_environment(
    made: Any, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, shadow = tmp_path / "record", tmp_path / "shadow"
    record.mkdir()
    shadow.mkdir()
    for name in ("sops", "cp", "age-keygen"):
        real = subprocess.run(["which", name], capture_output=True, check=True).stdout.decode()
        wrapper = shadow / name
        wrapper.write_text(
            f"#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ > '{record}/{name}.'$$\n"
            f'exec "{real.strip()}" "$@"\n'
        )
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shadow}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SOPS_AGE_KEY", made.key.read_text())
    (tmp_path / "value").write_text("hunter2-canary")
    where = ("--instance", made.root, "--yes")
    assert agency("secrets", "set", "matrix-as-token", *where, "--file", tmp_path / "value") == 0
    assert agency("secrets", "rotate", "matrix-hs-token", *where) == 0
    values = sops.decrypt(made.encrypted, made.key).values()
    needles = [*(value.reveal() for value in values), made.key.read_text().split()[-1]]
    calls = [path.read_bytes().decode() for path in record.iterdir()]
    assert len([path for path in record.iterdir() if path.name.startswith("cp.")]) == 2
    assert not [n for n in needles for call in calls if n in call]
    assert SecretValue("hunter2-canary") in values


def test_command_beside_another_waits_and_then_gives_up(
    made: Any, agency: Agency, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(change, "LOCK_WAIT_S", 0.2)
    before = made.encrypted.read_bytes()
    rotate = ("secrets", "rotate", "matrix-as-token", "--instance", made.root, "--yes")
    other = os.open(made.encrypted.parent, os.O_RDONLY)
    try:
        assert take(other)
        assert agency(*rotate) == 3
    finally:
        os.close(other)
    assert "another command changes it now" in capsys.readouterr().err
    assert made.encrypted.read_bytes() == before
    assert agency(*rotate) == 0


def test_a_master_key_is_put_before_the_old_ones(made: Any, agency: Agency) -> None:
    """What is encrypted with an old key stays readable; of many, the oldest are dropped."""
    where = ("--instance", made.root, "--yes")
    seen = [sops.decrypt(made.encrypted, made.key)["vault-master-key"].reveal()]
    for _ in range(4):
        assert agency("secrets", "rotate", "vault-master-key", *where) == 0
        seen.append(sops.decrypt(made.encrypted, made.key)["vault-master-key"].reveal())
    assert [len(each.split()) for each in seen] == [1, 2, 3, 4, 4]
    for before, after in pairwise(seen):
        fresh, *old = after.split()
        assert fresh not in before
        assert old == before.split()[: len(old)]
