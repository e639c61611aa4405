"""What goes wrong with a backup, and what is said of it: with the real restic."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from backing import HOST, Machine

from agency.backup import create_backup, restore_in_place
from agency.backup.opening import open_repository
from agency.backup.restic import RepositoryError
from agency.backup.verify import existing, verify_backup
from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: run it as root")


def snapshots(machine: Machine) -> int:
    return len(existing(machine.settings, open_repository(machine.settings)))


def test_a_wrong_password_is_told(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    (machine.credentials / "backup-password").write_text("another one")
    with pytest.raises(RepositoryError, match="password does not open") as raised:
        create_backup(machine.settings, machine.clock)
    assert raised.value.exit_code == 3
    assert "another one" not in str(raised.value.as_dict())
    (machine.credentials / "backup-password").unlink()
    with pytest.raises(PrerequisiteError, match="password of the repository cannot be read"):
        create_backup(machine.settings, machine.clock)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("rest:http://127.0.0.1:1/", "refused"),
        ("sftp:nobody@127.0.0.1:/srv/agency", "restic failed"),
        ("/nonexistent/disk/repository", "is its disk mounted"),
    ],
)
def test_an_unreachable_repository_is_told_and_not_made(
    machine: Machine, location: str, told: str
) -> None:
    machine.write_config(repository=location)
    with pytest.raises(RepositoryError) as raised:
        create_backup(machine.settings, machine.clock)
    assert told in str(raised.value)
    assert raised.value.exit_code == 3
    assert not (machine.place / "state" / "last-success.json").exists()
    assert not Path("/nonexistent").exists()


@pytest.mark.thorough
def test_a_repository_that_is_gone_is_not_made_again(machine: Machine) -> None:
    """Else an unmounted disk would get an empty repository, and old backups seem to be lost."""
    create_backup(machine.settings, machine.clock)
    machine.repository.rename(machine.place / "unplugged")
    with pytest.raises(RepositoryError, match="the repository is gone"):
        create_backup(machine.settings, machine.clock)
    assert not machine.repository.exists()
    assert create_backup(machine.settings, machine.clock, initialise=True).initialised


def test_a_repository_address_holds_no_password(machine: Machine) -> None:
    machine.write_config(repository="rest:https://user:secret@host.example/")
    with pytest.raises(ValueError, match="backup-repository-credentials") as raised:
        _ = machine.settings
    assert "secret@" not in str(raised.value)


def test_credentials_reach_restic_alone(machine: Machine) -> None:
    file = machine.credentials / "backup-repository-credentials"
    file.write_text("AWS_ACCESS_KEY_ID=one AWS_SECRET_ACCESS_KEY=two\n")
    opened = open_repository(machine.settings)
    assert dict(opened.environment) == {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two"}
    assert "two" not in repr(opened)
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    for bad in ("LD_PRELOAD=/tmp/x.so", "RESTIC_PASSWORD_COMMAND=id", "AWS_SECRET_ACCESS_KEY="):
        file.write_text(bad)
        with pytest.raises(BadInputError, match="NAME=VALUE") as raised:
            open_repository(machine.settings)
        assert "x.so" not in str(raised.value)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.thorough
@needs_root
def test_a_full_repository_keeps_what_it_has(machine: Machine, small: Path) -> None:
    machine.write_config(repository=str(small / "repository"))
    create_backup(machine.settings, machine.clock)
    noise = machine.tree / "noise"
    noise.write_bytes(os.urandom(8 * 1024**2))
    with pytest.raises(RepositoryError, match="no space left"):
        create_backup(machine.settings, machine.clock)
    noise.unlink()
    assert snapshots(machine) == 1
    create_backup(machine.settings, machine.clock)
    assert verify_backup(machine.settings, machine.clock, read_percent=100).ok


@pytest.mark.thorough
@needs_root
def test_a_full_state_directory_is_told(machine: Machine, small: Path) -> None:
    machine.write_config(state_dir=str(small / "state"))
    create_backup(machine.settings, machine.clock)
    with closing(sqlite3.connect(machine.store)) as connection:
        connection.execute("CREATE TABLE ballast (noise BLOB)")
        connection.execute("INSERT INTO ballast VALUES (randomblob(8 * 1024 * 1024))")
        connection.commit()
    with pytest.raises(PrerequisiteError, match="full"):
        create_backup(machine.settings, machine.clock)
    assert not (small / "state" / "staging").exists()
    assert snapshots(machine) == 1
    with pytest.raises(PrerequisiteError, match="are needed"):
        asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))


def test_after_a_kill_the_next_backup_succeeds(machine: Machine) -> None:
    """Killed while restic writes: it ends too, and leaves its lock; the copies lie in staging."""
    create_backup(machine.settings, machine.clock)
    for number in range(40):
        (machine.tree / f"noise{number}").write_bytes(os.urandom(4 * 1024**2))
    argv = [sys.executable, "-m", "agency", "backup", "create", "--config", str(machine.config)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    locks = machine.repository / "locks"
    deadline = time.monotonic() + 60
    while not (restics(machine) and list(locks.iterdir()) and staged(machine)):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    (writing,) = restics(machine)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    deadline = time.monotonic() + 30  # until it is reaped: restic takes a zombie for alive
    while Path(f"/proc/{writing}").exists():
        assert time.monotonic() < deadline, "restic works on without us"
        time.sleep(0.05)
    assert list(locks.iterdir()), "it was killed too late to leave its lock"
    assert snapshots(machine) == 1
    for path in machine.tree.glob("noise*"):
        path.unlink()
    create_backup(machine.settings, machine.clock)
    # Only a lock of the whole repository removes old snapshots: the dead one is gone.
    assert snapshots(machine) == 1
    assert not list(locks.iterdir())
    assert verify_backup(machine.settings, machine.clock, read_percent=100).ok


def restics(machine: Machine) -> list[int]:
    """Processes of restic that have this repository."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
            if (
                b"restic" in (entry / "comm").read_bytes()
                and str(machine.place).encode() in environ
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def staged(machine: Machine) -> bool:
    return (machine.place / "state" / "staging" / "manifest.json").exists()


def test_one_backup_at_a_time(machine: Machine) -> None:
    from agency.locks import only_one

    (machine.place / "state").mkdir()
    with (
        only_one(machine.place / "state" / "lock", AssertionError("held")),  # type: ignore[arg-type]
        pytest.raises(PrerequisiteError, match="another backup or restore"),
    ):
        create_backup(machine.settings, machine.clock)


def test_an_altered_pack_is_found(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    assert verify_backup(machine.settings, machine.clock, read_percent=100).ok
    packs = [path for path in (machine.repository / "data").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    found = verify_backup(machine.settings, machine.clock, read_percent=100)
    assert not found.ok
    done = subprocess.run(
        [
            *(sys.executable, "-m", "agency", "backup", "verify", "--read-data", "100"),
            *("--config", str(machine.config), "--json"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "damaged" in str(json.loads(done.stdout)["findings"])


def test_a_late_backup_is_found(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    later = replace(Clock(), wall=lambda: time.time() + 27 * 3600)
    found = verify_backup(machine.settings, later, read_percent=0)
    assert [finding for finding in found.findings if "27.0 hours old; 26 are allowed" in finding]
    sooner = replace(Clock(), wall=lambda: time.time() + 25 * 3600)
    assert verify_backup(machine.settings, sooner, read_percent=0).ok


def test_a_backup_of_the_future_is_found(machine: Machine) -> None:
    """Made while the clock was wrong, it would be the newest for years, and none ever late."""
    create_backup(machine.settings, machine.clock)
    earlier = replace(Clock(), wall=lambda: time.time() - 400 * 24 * 3600)
    found = verify_backup(machine.settings, earlier, read_percent=0)
    assert [one for one in found.findings if "9600.0 hours in the future" in one], found.findings
    a_little = replace(Clock(), wall=lambda: time.time() - 60)
    assert verify_backup(machine.settings, a_little, read_percent=0).ok


def test_without_a_repository_nothing_is_verified(machine: Machine) -> None:
    with pytest.raises(BadInputError, match="there is no repository"):
        verify_backup(machine.settings, machine.clock, read_percent=0)


def test_a_broken_audit_log_is_not_backed_up(machine: Machine) -> None:
    """No snapshot with a broken chain follows a whole one, and pushes it out in time."""
    create_backup(machine.settings, machine.clock)
    machine.forge_a_row()
    with pytest.raises(BadInputError, match="bad at row 2"):
        create_backup(machine.settings, machine.clock)
    assert snapshots(machine) == 1


@pytest.mark.thorough
def test_a_manifest_of_another_copy_is_found(machine: Machine) -> None:
    """The repository is whole, but the copy is not the one that the manifest names."""
    create_backup(machine.settings, machine.clock)
    repository = open_repository(machine.settings)
    staging = machine.place / "state" / "staging"
    staging.mkdir()
    from agency.backup.verify import choose, manifest_of

    newest = choose(existing(machine.settings, repository), "latest", machine.instance)
    (staging / "manifest.json").write_text(
        manifest_of(repository, newest, staging).model_dump_json()
    )
    (staging / "control.sqlite").write_bytes(b"not it")
    repository.backup(
        [staging, machine.tree], host=HOST, tags=("agency", f"instance:{machine.instance}")
    )
    found = verify_backup(machine.settings, machine.clock, read_percent=0)
    assert found.findings == ("control: its copy is not the one that the manifest names",)
    with pytest.raises(BadInputError, match="not the one that the manifest names"):
        asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))
    assert sqlite3.connect(machine.store).execute("SELECT count(*) FROM audit").fetchone() == (4,)


@pytest.mark.parametrize("missing", ["store", "link"])
def test_a_source_that_is_not_as_it_should_be(machine: Machine, missing: str) -> None:
    if missing == "store":
        machine.store.unlink()
        told = "the store does not exist"
    else:
        machine.tree.rename(machine.place / "elsewhere")
        machine.tree.symlink_to(machine.place / "elsewhere")
        told = "is a link"
    with pytest.raises(PrerequisiteError, match=told):
        create_backup(machine.settings, machine.clock)


@pytest.mark.thorough
def test_a_tree_that_is_not_there_yet_is_left_out(machine: Machine) -> None:
    absent = machine.place / "issued"
    trees = [{"name": "media", "path": str(machine.tree)}, {"name": "issued", "path": str(absent)}]
    machine.write_config(trees=trees)
    created = create_backup(machine.settings, machine.clock)
    assert [part.present for part in created.manifest.parts] == [True, True, False]
    assert verify_backup(machine.settings, machine.clock, read_percent=0).ok
    asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))
    assert not absent.exists()
