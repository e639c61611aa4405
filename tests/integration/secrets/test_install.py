"""Putting secrets in place, with the real sops and age, on a real tmpfs."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.instance.secret_commands.group import secrets as secrets_command
from agency.secrets.delivery.install import InstallConfig, Installer, load_config
from agency.secrets.encryption import sops
from agency.secrets.encryption.age import new_key, store_key
from agency.secrets.values import SecretValue

VALUES = {"first-token": "canary-Zq81-first", "second-key": "canary-Zq81-second\nline two"}
OWNER = "root" if os.getuid() == 0 else None
pytestmark = pytest.mark.skipif(OWNER is None, reason="giving files to their owners needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory, as /run/secrets is."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    directory.chmod(0o751)
    yield directory
    shutil.rmtree(directory)


def secret(place: Path, name: str, **fields: Any) -> dict[str, Any]:
    base = {"name": name, "owner": "root", "mode": "0400", "path": str(place / name)}
    return base | {"generator": "token"} | fields


@pytest.fixture
def document(tmp_path: Path, place: Path) -> dict[str, Any]:
    key = new_key()
    store_key(key, tmp_path / "keys/age.key")
    values = {name: SecretValue(value) for name, value in VALUES.items()}
    (tmp_path / "secrets.yaml").write_bytes(sops.encrypt(values, [key.recipient]))
    return {
        "provider": "sops",
        "file": str(tmp_path / "secrets.yaml"),
        "age_key_file": str(tmp_path / "keys/age.key"),
        "directory": str(place),
        "secrets": [secret(place, name) for name in VALUES],
        "templates": [
            {
                "name": "login.yaml",
                "content": "token: @first-token@\nregex: '@agent-.*:x'\n",
                "path": str(place / "rendered/login.yaml"),
            }
        ],
    }


def config(document: dict[str, Any]) -> InstallConfig:
    return InstallConfig.model_validate_json(json.dumps(document))


def tree(place: Path) -> dict[str, tuple[int, int, int, bytes]]:
    return {
        str(path.relative_to(place)): (s.st_mtime_ns, s.st_ino, s.st_mode, path.read_bytes())
        for path in sorted(place.rglob("*"))
        if stat.S_ISREG((s := path.lstat()).st_mode)
    }


def test_secrets_and_templates_are_put_in_place(document: dict[str, Any], place: Path) -> None:
    report = Installer(config(document)).run()
    assert report.written == ["first-token", "second-key", "login.yaml"]
    for name, value in VALUES.items():
        assert (place / name).read_text() == value
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o400
    text = (place / "rendered/login.yaml").read_text()
    assert text == "token: canary-Zq81-first\nregex: '@agent-.*:x'\n"
    assert stat.S_IMODE((place / "rendered").stat().st_mode) == 0o751


def test_a_second_run_writes_nothing(document: dict[str, Any], place: Path) -> None:
    Installer(config(document)).run()
    before = tree(place)
    report = Installer(config(document)).run()
    assert tree(place) == before
    assert (report.written, report.removed, report.failed) == ([], [], {})
    assert len(report.unchanged) == 3


def loosen(path: Path) -> None:
    path.chmod(0o644)


def alter(path: Path) -> None:
    path.write_text("another")


def give(path: Path) -> None:
    os.chown(path, 65534, 65534)


def link(path: Path) -> None:
    os.link(path, path.parent / "second-name")


@pytest.mark.parametrize("drift", [loosen, alter, give, link, Path.unlink])
def test_drift_heals(document: dict[str, Any], place: Path, drift: Any) -> None:
    Installer(config(document)).run()
    drift(place / "first-token")
    assert "first-token" in Installer(config(document)).run().written
    status = (place / "first-token").lstat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (0, 0o400, 1)
    assert (place / "first-token").read_text() == VALUES["first-token"]
    assert not (place / "second-name").exists()


def test_a_link_in_the_place_of_a_secret_is_replaced(
    document: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (place / "first-token").symlink_to(target)
    Installer(config(document)).run()
    assert target.read_text() == "mine"
    assert not (place / "first-token").is_symlink()


def test_a_link_in_the_path_is_refused(
    document: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    (place / "rendered").symlink_to(tmp_path)
    with pytest.raises(PrerequisiteError, match="directory of secrets"):
        Installer(config(document)).run()
    assert not (tmp_path / "login.yaml").exists()


def test_a_directory_that_others_may_write_in_is_refused(
    document: dict[str, Any], place: Path
) -> None:
    place.chmod(0o777)
    with pytest.raises(PrerequisiteError, match="others may write"):
        Installer(config(document)).run()


def test_secrets_never_go_to_a_disk(document: dict[str, Any], place: Path) -> None:
    with pytest.raises(PrerequisiteError, match="lies on ext4"):
        Installer(config(document), file_system=lambda _: "ext4").run()
    assert list(place.rglob("*token*")) == []


def test_what_nothing_lists_any_more_goes(document: dict[str, Any], place: Path) -> None:
    Installer(config(document)).run()
    document["secrets"] = document["secrets"][:1]
    report = Installer(config(document)).run()
    assert report.removed == [str(place / "second-key")]
    assert not (place / "second-key").exists()
    assert (place / "first-token").exists()


def test_one_failure_does_not_hide_the_others(document: dict[str, Any], place: Path) -> None:
    document["secrets"] += [
        secret(place, "never-put-in"),
        secret(place, "strange", owner="nobody-at-all"),
    ]
    (place / "second-key").mkdir()
    report = Installer(config(document)).run()
    assert set(report.failed) == {"never-put-in", "strange", "second-key"}
    assert report.written == ["first-token", "login.yaml"]
    assert (place / "first-token").read_text() == VALUES["first-token"]


def test_a_template_without_its_secret_is_not_written(
    document: dict[str, Any], place: Path
) -> None:
    document["templates"][0]["content"] = "token: @firsttoken@\n"
    report = Installer(config(document)).run()
    assert "is not a secret of this machine" in str(report.failed["login.yaml"])
    assert not (place / "rendered/login.yaml").exists()


def test_without_the_key_nothing_is_put_in_place(
    document: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    store_key(new_key(), tmp_path / "other/age.key")
    document["age_key_file"] = str(tmp_path / "other/age.key")
    with pytest.raises(PrerequisiteError, match="It is encrypted for"):
        Installer(config(document)).run()
    assert tree(place) == {}


def test_an_ephemeral_machine_makes_its_secrets_once(document: dict[str, Any], place: Path) -> None:
    document["provider"] = "ephemeral"
    first = Installer(config(document)).run()
    assert "first-token" in first.written
    before = tree(place)
    assert Installer(config(document)).run().written == []
    assert tree(place) == before


def test_nobody_makes_up_what_an_operator_brings(document: dict[str, Any]) -> None:
    document["provider"] = "ephemeral"
    document["secrets"][0]["generator"] = "external"
    report = Installer(config(document)).run()
    assert "an operator brings it" in str(report.failed["first-token"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "/etc/shadow"}, "is not below"),
        ({"path": "relative"}, "absolute path"),
        ({"mode": "0644"}, "mode"),
        ({"name": "../x"}, "name"),
    ],
)
def test_a_dangerous_configuration_is_refused(
    document: dict[str, Any], tmp_path: Path, change: dict[str, str], says: str
) -> None:
    document["secrets"][0] |= change
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match=says):
        load_config(file)


def test_two_secrets_may_not_have_one_place(document: dict[str, Any], tmp_path: Path) -> None:
    document["secrets"][1]["path"] = document["secrets"][0]["path"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match="used twice"):
        load_config(file)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_shows_no_value(
    document: dict[str, Any], tmp_path: Path, place: Path, as_json: bool
) -> None:
    document["secrets"].append(secret(place, "never-put-in"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    arguments = ["install", "--config", str(file), *(["--json"] if as_json else [])]
    result = CliRunner().invoke(secrets_command, arguments)
    assert result.exit_code == 1
    assert "never-put-in" in result.output
    assert "canary" not in result.output


def test_a_missing_configuration_is_a_prerequisite(tmp_path: Path) -> None:
    with pytest.raises(AgencyError) as raised:
        load_config(tmp_path / "nowhere.json")
    assert raised.value.exit_code == 3
