"""Recipients come and go: a former one reads nothing that is written later."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from repositories import git

from agency.errors import PrerequisiteError
from agency.instance.editing import rewriting
from agency.secrets.encryption import age, sops
from agency.secrets.encryption.age import AgeKey

Agency = Callable[..., int]


@pytest.fixture
def stranger(tmp_path: Path) -> AgeKey:
    key = age.new_key()
    age.store_key(key, tmp_path / "stranger.key")
    return key


def commit(made: Any) -> None:
    if not (made.root / ".git").exists():
        git(made.root, "init", "-q")
    git(made.root, "add", "-A")
    git(made.root, "commit", "-qm", "state")


def graft(old: str, new: str, recipient: str) -> str:
    """Put the old file's data key for `recipient` into the new file: the attack."""
    stanzas = {one["recipient"]: one for one in yaml.safe_load(old)["sops"]["age"]}
    document = yaml.safe_load(new)
    document["sops"]["age"] = [stanzas[recipient]]
    return yaml.safe_dump(document, sort_keys=False)


def with_stranger(made: Any, stranger: AgeKey, agency: Agency) -> str:
    """Add the stranger and commit; returns the encrypted file as the stranger knows it."""
    add = ("secrets", "recipients", "add", "stranger", stranger.recipient)
    assert agency(*add, "--instance", made.root, "--yes") == 0
    commit(made)
    return str(made.encrypted.read_text())


class TestRemoval:
    """The attack: the data key of an old commit on a new file."""

    def test_old_data_key_does_not_open_the_new_file(
        self, made: Any, stranger: AgeKey, agency: Agency, tmp_path: Path
    ) -> None:
        old = with_stranger(made, stranger, agency)
        known = sops.decrypt(made.encrypted, tmp_path / "stranger.key")
        assert known == sops.decrypt(made.encrypted, made.key)
        remove = ("secrets", "recipients", "remove", "stranger", "--instance", made.root, "--yes")
        assert agency(*remove) == 0
        assert agency("check", made.root) == 0
        assert stranger.recipient not in (made.root / "instance.yaml").read_text()
        grafted = tmp_path / "grafted.yaml"
        grafted.write_text(graft(old, made.encrypted.read_text(), stranger.recipient))
        opened = subprocess.run(
            ["sops", "decrypt", str(grafted)],
            env={"PATH": os.environ["PATH"], "SOPS_AGE_KEY_FILE": str(tmp_path / "stranger.key")},
            timeout=30,
            capture_output=True,
            check=False,
        )
        assert opened.returncode != 0
        assert known["matrix-as-token"].reveal().encode() not in opened.stdout + opened.stderr
        # The values are the same, and the other recipient reads them.
        assert sops.decrypt(made.encrypted, made.key) == known

    def test_updatekeys_alone_leaves_the_door_open_and_check_tells(
        self,
        made: Any,
        stranger: AgeKey,
        agency: Agency,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        old = with_stranger(made, stranger, agency)
        config = made.root / "instance.yaml"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if stranger.recipient not in line))
        assert agency("render", made.root) == 0
        made.sops("updatekeys", "-y", "secrets/secrets.yaml")
        made.sops("set", "secrets/secrets.yaml", '["matrix-as-token"]', '"a-later-value"')
        grafted = tmp_path / "grafted.yaml"
        grafted.write_text(graft(old, made.encrypted.read_text(), stranger.recipient))
        read = sops.decrypt(grafted, tmp_path / "stranger.key")
        assert read["matrix-as-token"].reveal() == "a-later-value"  # the attack works here

        capsys.readouterr()
        assert agency("check", made.root) == 1
        said = capsys.readouterr().out
        assert f"{stranger.recipient} was a recipient and still knows its data key" in said
        assert agency("secrets", "doctor", made.root, "--json") == 1
        assert json.loads(capsys.readouterr().out)["formerRecipients"] == [stranger.recipient]
        assert agency("secrets", "rekey", made.root, "--yes") == 0
        assert agency("check", made.root) == 0
        assert agency("secrets", "doctor", made.root) == 0
        grafted.write_text(graft(old, made.encrypted.read_text(), stranger.recipient))
        with pytest.raises(Exception, match="was changed"):
            sops.decrypt(grafted, tmp_path / "stranger.key")

    def test_every_value_changed_one_after_the_other_is_no_new_data_key(
        self, made: Any, stranger: AgeKey, agency: Agency
    ) -> None:
        with_stranger(made, stranger, agency)
        config = made.root / "instance.yaml"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if stranger.recipient not in line))
        agency("render", made.root)
        made.sops("updatekeys", "-y", "secrets/secrets.yaml")
        for name in sops.names_in_file(made.encrypted):
            made.sops("set", "secrets/secrets.yaml", f'["{name}"]', f'"value of {name}"')
            commit(made)
        assert agency("check", made.root) == 1

    def test_recipient_of_a_merged_branch_is_found(
        self, made: Any, stranger: AgeKey, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commit(made)
        git(made.root, "checkout", "-qb", "side")
        with_stranger(made, stranger, agency)
        git(made.root, "checkout", "-q", "-")
        rotate = ("secrets", "rotate", "matrix-as-token", "--instance", made.root, "--yes")
        assert agency(*rotate) == 0
        commit(made)
        git(made.root, "merge", "-q", "-s", "ours", "-m", "merged", "side")
        capsys.readouterr()
        assert agency("check", made.root) == 1
        assert stranger.recipient in capsys.readouterr().out
        assert agency("secrets", "rekey", made.root, "--yes") == 0
        assert agency("check", made.root) == 0

    def test_without_a_history_nothing_is_claimed(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root, "--json") == 0
        assert json.loads(capsys.readouterr().out)["historyRead"] is False
        commit(made)
        assert agency("secrets", "doctor", made.root, "--json") == 0
        assert json.loads(capsys.readouterr().out)["historyRead"] is True

    def test_the_last_recipient_stays(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = made.encrypted.read_bytes()
        remove = ("secrets", "recipients", "remove", "alice", "--instance", made.root, "--yes")
        assert agency(*remove) == 1
        assert "the last recipient" in capsys.readouterr().err
        assert made.encrypted.read_bytes() == before


class TestPlan:
    """Nothing happens before it was shown and confirmed."""

    def snapshot(self, root: Path) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def test_dry_run_shows_and_writes_nothing(
        self, made: Any, stranger: AgeKey, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = self.snapshot(made.root)
        add = ("secrets", "recipients", "add", "stranger", stranger.recipient)
        assert agency(*add, "--instance", made.root, "--dry-run") == 0
        said = capsys.readouterr().out
        assert f"+    stranger: {stranger.recipient}" in said
        assert f"can decrypt from now on: {stranger.recipient}" in said
        assert self.snapshot(made.root) == before

    def test_without_a_terminal_it_wants_yes(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = self.snapshot(made.root)
        assert agency("secrets", "rekey", made.root) == 2
        assert "--yes" in capsys.readouterr().err
        assert self.snapshot(made.root) == before

    def test_comments_and_order_of_instance_yaml_stay(
        self, made: Any, stranger: AgeKey, agency: Agency
    ) -> None:
        config = made.root / "instance.yaml"
        text = config.read_text().replace("agents:\n", "agents: # the crew\n")
        config.write_text(f"{text}\n# the end\n")
        config.chmod(0o600)
        before = config.read_text().splitlines()
        assert agency("render", made.root) == 0
        with_stranger(made, stranger, agency)
        after = config.read_text().splitlines()
        assert [line for line in after if line not in before] == [
            f"    stranger: {stranger.recipient}"
        ]
        assert [line for line in after if line in before] == before
        assert config.stat().st_mode & 0o777 == 0o600

    def test_adding_keeps_the_lines_of_all_values(
        self, made: Any, stranger: AgeKey, agency: Agency
    ) -> None:
        before = yaml.safe_load(made.encrypted.read_text())
        with_stranger(made, stranger, agency)
        after = yaml.safe_load(made.encrypted.read_text())
        before.pop("sops")
        assert {name: after[name] for name in before} == before

    def test_failure_of_the_last_write_takes_the_others_back(
        self, made: Any, stranger: AgeKey, agency: Agency, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise PrerequisiteError("cannot write: No space left on device")

        before = self.snapshot(made.root)
        monkeypatch.setattr(rewriting, "write_tree_atomically", full)
        add = ("secrets", "recipients", "add", "stranger", stranger.recipient)
        assert agency(*add, "--instance", made.root, "--yes") == 3
        assert self.snapshot(made.root) == before

    @pytest.mark.parametrize(
        ("owner", "key", "status"),
        [("Bob", "age1" + "q" * 58, 2), ("bob", "ssh-ed25519 x", 2), ("alice", None, 1)],
    )
    def test_wrong_recipients_are_refused(
        self, made: Any, stranger: AgeKey, agency: Agency, owner: str, key: str | None, status: int
    ) -> None:
        before = self.snapshot(made.root)
        add = ("secrets", "recipients", "add", owner, key or stranger.recipient)
        assert agency(*add, "--instance", made.root, "--yes") == status
        assert self.snapshot(made.root) == before


class TestPlainCopy:
    """A .sops.yaml without symbolic links: each told remedy is run, and works."""

    def remedy(self, out: str) -> str:
        return next(part for part in out.split("`") if part.startswith("ln -sf"))

    def test_text_of_a_link(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = made.root / ".sops.yaml"
        config.unlink()
        config.write_text("generated/sops.yaml")  # as git writes it with core.symlinks=false
        capsys.readouterr()
        assert agency("check", made.root) == 1
        said = capsys.readouterr().out
        assert "holds the text of a link" in said
        subprocess.run(self.remedy(said), shell=True, check=True, timeout=10)
        assert agency("check", made.root) == 0

    def test_copy_that_a_new_recipient_makes_stale(
        self, made: Any, stranger: AgeKey, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = made.root / ".sops.yaml"
        content = config.read_bytes()
        config.unlink()
        config.write_bytes(content)
        assert agency("check", made.root) == 0
        with_stranger(made, stranger, agency)
        capsys.readouterr()
        assert agency("check", made.root) == 1
        subprocess.run(self.remedy(capsys.readouterr().out), shell=True, check=True, timeout=10)
        assert agency("check", made.root) == 0
