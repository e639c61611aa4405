"""Create, damage, restore: with the real restic, and the control plane's real store."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from backing import HOST, Machine, appended, in_store

from agency.backup import create_backup, restore_in_place, restored_evidence
from agency.backup.restoring.extract import extract_snapshot
from agency.backup.verify import verify_backup
from agency.control import verify_database
from agency.errors import BadInputError, PrerequisiteError, UsageError


def agency(machine: Machine, *argv: str, status: int = 0) -> dict[str, object]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "agency",
            "backup",
            *argv,
            "--config",
            str(machine.config),
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    answer = json.loads(done.stdout or done.stderr)
    assert isinstance(answer, dict)
    return answer


def restore(machine: Machine, **more: str) -> object:
    return asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST, **more))


def rows(store: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT * FROM audit ORDER BY sequence").fetchall()


def test_what_was_lost_is_back_and_goes_on(machine: Machine) -> None:
    before, files = rows(machine.store), machine.contents()
    head = verify_database(machine.store).head
    created = agency(machine, "create")
    assert created["initialised"] is True
    machine.say(2)  # after the backup: lost with the machine
    machine.damage()

    answer = agency(machine, "restore", "latest", "--in-place", "--yes-replace", HOST)

    assert rows(machine.store) == before
    assert machine.contents() == files
    assert answer["audit_after"] == answer["audit_before"] == {"count": 4, "head": head}
    report = verify_database(machine.store, instance=machine.instance)
    assert (report.ok, report.count) == (True, 4)
    machine.say(1)
    assert verify_database(machine.store).count == 5
    assert restored_evidence(machine.settings)["continues"] == 5


@pytest.mark.thorough
def test_evidence_of_a_broken_log_does_not_go_on(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    restore(machine)
    assert restored_evidence(machine.settings)["continues"] == 4
    machine.forge_a_row()
    assert restored_evidence(machine.settings)["continues"] is None


@pytest.mark.thorough
def test_owners_and_modes_are_back(machine: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(machine.store, 1234, 1235)
    os.chown(machine.store.parent, 1234, 1235)
    machine.store.chmod(0o640)
    note = machine.tree / "below" / "note"
    os.chown(note, 1236, 1237)
    note.chmod(0o4711)
    create_backup(machine.settings, machine.clock)
    machine.damage()
    restore(machine)
    for path, uid, gid, mode in (
        (machine.store, 1234, 1235, 0o640),
        (machine.store.with_name("control.db.lock"), 1234, 1235, 0o600),
        (note, 1236, 1237, 0o4711),
    ):
        facts = path.stat()
        found = (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode))
        assert found == (uid, gid, mode), path


def test_a_writer_is_not_held_up_and_the_copy_is_one_moment(machine: Machine) -> None:
    """Rows are written throughout; the copy's chain is whole, and later rows are not in it."""
    stop, written = threading.Event(), []

    def write() -> None:
        def work(connection: object) -> object:
            return appended(connection, machine.instance, machine.clock, 1)

        while not stop.is_set():
            written.append(in_store(str(machine.store), work).sequence)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 3:
            assert writer.is_alive()
        created = create_backup(machine.settings, machine.clock)
        seen = len(written)
    finally:
        stop.set()
        writer.join()
    assert seen > 3, "nothing was written while the backup ran"
    assert created.manifest.audit is not None
    assert created.manifest.audit.count <= written[-1]
    assert verify_backup(machine.settings, machine.clock, read_percent=100).findings == ()


def test_a_store_that_stays_open_is_copied_with_its_log(machine: Machine) -> None:
    """Rows in the write-ahead log alone are in the copy; root leaves no file beside the store."""
    with closing(sqlite3.connect(machine.store)) as keeper:
        keeper.execute("PRAGMA wal_autocheckpoint=0")
        keeper.execute("BEGIN")
        keeper.execute("SELECT count(*) FROM audit").fetchone()
        machine.say(2)
        assert machine.store.with_name("control.db-wal").stat().st_size > 0
        created = create_backup(machine.settings, machine.clock)
    assert created.manifest.audit is not None
    assert created.manifest.audit.count == 6


def test_a_store_at_rest_gets_no_file_beside_it(machine: Machine) -> None:
    before = sorted(path.name for path in machine.store.parent.iterdir())
    create_backup(machine.settings, machine.clock)
    assert sorted(path.name for path in machine.store.parent.iterdir()) == before


@pytest.mark.thorough
def test_extract_changes_nothing_else_and_goes_on(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    machine.say(1)
    target = machine.place / "out"
    found = extract_snapshot(machine.settings, target)
    assert rows(found.copies / "control.sqlite") == rows(machine.store)[:4]
    assert (found.at(machine.tree) / "below" / "note").read_text() == "kept"
    assert len(rows(machine.store)) == 5
    # Interrupted: a file is missing, another one is half. The same call completes them.
    (found.copies / "control.sqlite").unlink()
    (found.at(machine.tree) / "picture").write_bytes(b"half")
    extract_snapshot(machine.settings, target)
    assert (found.at(machine.tree) / "picture").read_bytes() == machine.contents()["picture"]
    with pytest.raises(UsageError, match="not empty"):
        extract_snapshot(machine.settings, machine.tree)


@pytest.mark.thorough
def test_list_and_retention(machine: Machine) -> None:
    for _ in range(3):
        create_backup(machine.settings, machine.clock)
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "agency",
            "backup",
            "list",
            "--config",
            str(machine.config),
            "--json",
        ],
        capture_output=True,
        check=True,
    )
    # Of one day, the newest is kept.
    assert [one["instance"] for one in json.loads(answer.stdout)] == [machine.instance]


def test_metrics_name_the_last_success(machine: Machine) -> None:
    created = agency(machine, "create")
    text = (machine.place / "agency_backup.prom").read_text()
    found = [line for line in text.splitlines() if line.startswith("agency_backup_last_success")]
    assert abs(float(found[0].split()[1]) - machine.clock.wall()) < 60
    assert created["manifest"]["audit"]["count"] == 4  # type: ignore[index]
    assert stat.S_IMODE((machine.place / "agency_backup.prom").stat().st_mode) == 0o644


def test_a_tree_of_any_name_is_not_taken_for_the_copies(machine: Machine) -> None:
    """Also one that restic lists before the copies, and that has a file like theirs."""
    trees = [machine.place / "app" / "staging", machine.place / "zone" / "staging"]
    for tree in trees:
        tree.mkdir(parents=True)
        (tree / "manifest.json").write_text("{}")
    listed = [{"name": path.parent.name, "path": str(path)} for path in trees]
    machine.write_config(trees=listed)
    agency(machine, "create")
    assert verify_backup(machine.settings, machine.clock, read_percent=0).findings == ()
    shutil.rmtree(trees[0])
    restore(machine)
    assert (trees[0] / "manifest.json").read_text() == "{}"


@pytest.mark.thorough
def test_an_interrupted_restore_is_done_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between the two renames of a tree: the old one lies aside, the new one is not there."""
    files = machine.contents()
    create_backup(machine.settings, machine.clock)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == ".media.restoring":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(machine)
    assert not machine.tree.exists()
    restore(machine)
    assert machine.contents() == files
    left = [path.name for path in machine.place.iterdir() if path.name.startswith(".media")]
    assert left == []


@pytest.mark.thorough
def test_the_store_of_a_running_control_plane_is_not_replaced(machine: Machine) -> None:
    from agency.store import Holder, hold, parse_url

    create_backup(machine.settings, machine.clock)
    machine.say(1)
    before = rows(machine.store)

    async def while_held() -> None:
        async with hold(parse_url(str(machine.store)), Holder.here(machine.place)):
            await restore_in_place(machine.settings, machine.clock, replace=HOST)

    with pytest.raises(PrerequisiteError, match="held by process"):
        asyncio.run(while_held())
    assert rows(machine.store) == before


def test_a_restore_in_place_names_the_machine(machine: Machine) -> None:
    create_backup(machine.settings, machine.clock)
    other = agency(machine, "restore", "latest", "--in-place", "--yes-replace", "other", status=2)
    assert "not 'other'" in str(other)
    assert "go together" in str(agency(machine, "restore", "latest", "--in-place", status=2))
    assert "give one of" in str(agency(machine, "restore", "latest", status=2))


def test_another_instance_s_snapshot_is_refused(machine: Machine, tmp_path: Path) -> None:
    create_backup(machine.settings, machine.clock)
    snapshot = json.loads(machine.settings.model_dump_json())["repository"]
    other = Machine(tmp_path / "other", instance="elsewhere")
    (tmp_path / "other").mkdir()
    other.make().write_config(repository=snapshot)
    found = agency(other, "restore", "latest", "--to", str(tmp_path / "a"), status=1)
    assert "no snapshot of the instance 'elsewhere'" in str(found)
    create_backup(other.settings, other.clock)
    # Retention counts each instance alone.
    ids = subprocess.run(
        [sys.executable, "-m", "agency", "backup", "list", "--config", str(other.config), "--json"],
        capture_output=True,
        check=True,
    )
    listed = {one["instance"]: one["id"] for one in json.loads(ids.stdout)}
    assert set(listed) == {"example", "elsewhere"}
    found = agency(other, "restore", listed["example"], "--to", str(tmp_path / "b"), status=1)
    assert "of the instance 'example'" in str(found)
    agency(
        other,
        *("restore", listed["example"], "--to", str(tmp_path / "c")),
        *("--from-instance", "example"),
    )
    with pytest.raises(BadInputError, match="of the instance 'example'"):
        restore(other, which=listed["example"])


@pytest.mark.thorough
def test_a_newer_schema_is_refused_in_place_only(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_backup(machine.settings, machine.clock)
    shutil.copytree(machine.store.parent, machine.place / "kept")
    from agency.store import Schema

    older = Schema("agency.control.store:migrations", ("0001", "0002"))
    with monkeypatch.context() as patch:
        patch.setattr("agency.backup.restoring.guards.SCHEMA", older)
        with pytest.raises(PrerequisiteError, match="knows revisions up to '0002'"):
            restore(machine)
        extract_snapshot(machine.settings, machine.place / "out")
    restore(machine)
