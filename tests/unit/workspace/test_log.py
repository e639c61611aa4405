"""One agent's log: on disk when it is said to be, whole after whatever a crash left."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency.canonical import sha256_hex
from agency.errors import BadInputError, PrerequisiteError
from agency.workspace.audit.bounds import DAY_S, Bounds
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage import flags
from agency.workspace.audit.storage.log import AgentLog, LogFullError
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.verify import verify_agent

AGENT = "pm"
SENDER = Sender(4711, 42)
SMALL = Bounds(free_bytes=0, file_bytes=1500)
SAME_FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


def fill(log: AgentLog, text: str) -> None:
    for number in range(200):
        log.append(SENDER, "x", {"n": number, "text": text})


def test_a_log_begins_and_grows(open_log, verify, records) -> None:
    log = open_log()
    head = log.append(SENDER, "task.done", {"n": 1})
    kept = records()
    assert [record["event"] for record in kept] == ["log.begun", "task.done"]
    assert {key: kept[1][key] for key in ("agent", "uid", "pid", "sequence", "hash", "at")} == {
        "agent": AGENT,
        "uid": SENDER.uid,
        "pid": SENDER.pid,
        "sequence": head.sequence,
        "hash": head.hash,
        "at": "2023-11-14T22:13:20.000Z",
    }
    assert kept[1]["previous"] == kept[0]["hash"]
    assert verify(head).ok


def test_nobody_but_owner_and_group_may_read(directory, open_log) -> None:
    before = os.umask(0)
    try:
        open_log()
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory / "pm.jsonl").stat().st_mode) == 0o640


def test_opening_again_goes_on_and_is_on_record(open_log, verify, events) -> None:
    open_log().close()
    log = open_log()
    log.append(SENDER, "x", {})
    assert events() == ["log.begun", "log.opened", "x"]
    assert verify().ok


@SAME_FIXTURES
@given(
    st.floats(0, 1),
    st.sampled_from([b"", b"\0" * 5000, b"\n\nrubbish\n", b"{}\n", b"\xff" * 100_000]),
)
def test_a_torn_end_is_kept_aside_and_on_record(
    directory, open_log, verify, records, free, part: float, more: bytes
) -> None:
    log = open_log()
    for number in range(3):
        head = log.append(SENDER, "x", {"n": number})
    log.close()
    path = directory / "pm.jsonl"
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    free(directory)
    torn = whole[-last:][: 1 + int(part * (last - 3))] + more
    path.write_bytes(whole[:-last] + torn)

    open_log().append(SENDER, "y", {})
    kept = records()
    said = next(r for r in reversed(kept) if r["event"] == "log.torn")
    assert said["sequence"] == head.sequence, "it takes the place of the record that was torn"
    assert (directory / said["detail"]["file"]).read_bytes() == torn
    assert (said["detail"]["bytes"], said["detail"]["sha256"]) == (len(torn), sha256_hex(torn))
    assert verify().ok
    assert verify().torn >= 1


def test_what_was_put_aside_is_watched_too(directory, open_log, verify, free) -> None:
    open_log().close()
    free(directory)
    with (directory / "pm.jsonl").open("ab") as handle:
        handle.write(b"half")
    open_log()
    assert verify().ok
    aside = next(directory.glob("pm.torn-*"))
    aside.write_bytes(b"hale")
    assert verify().broken.file == aside.name
    aside.unlink()
    assert "gone" in verify().broken.reason


def test_a_file_that_is_full_is_closed_and_the_chain_goes_on(
    directory, open_log, verify, records
) -> None:
    log = open_log(SMALL)
    for number in range(20):
        head = log.append(SENDER, "x", {"n": number})
    closed = sorted(directory.glob("pm.*-*.jsonl"))
    assert len(closed) >= 3
    kept = records()
    assert [record["sequence"] for record in kept] == list(range(1, head.sequence + 1))
    assert [r["detail"]["n"] for r in kept if r["event"] == "x"] == list(range(20))
    for file in closed:
        assert b'"event":"log.closed"' in file.read_bytes().splitlines()[-1]
        assert file.stat().st_size < SMALL.file_bytes + 1000
    assert verify(head).ok


def test_a_file_ends_with_its_day(directory, open_log, moment, verify, events) -> None:
    log = open_log()
    log.append(SENDER, "x", {})
    log.append(SENDER, "x", {})
    assert not list(directory.glob("pm.*-*.jsonl"))
    moment.now += DAY_S
    log.append(SENDER, "y", {})
    assert len(list(directory.glob("pm.*-*.jsonl"))) == 1
    assert events() == ["log.begun", "x", "x", "log.closed", "log.begun", "y"]
    assert verify().ok


def test_a_silent_agents_file_is_closed_once(open_log, moment, events) -> None:
    log = open_log()
    log.append(SENDER, "x", {})
    for _ in range(3):
        moment.now += DAY_S
        log.rotate_if_old()
    assert events() == ["log.begun", "x", "log.closed", "log.begun"]


def test_one_agent_has_a_bound(open_log, verify, events) -> None:
    log = open_log(Bounds(free_bytes=0, agent_bytes=2000))
    with pytest.raises(LogFullError, match="takes no more"):
        fill(log, "")
    assert events().count("x") > 3
    assert verify().ok


def test_a_reserve_of_the_disk_is_kept(open_log) -> None:
    log = open_log(Bounds(free_bytes=2**62))
    with pytest.raises(LogFullError, match="the disk is full"):
        log.append(SENDER, "x", {})
    log.note("log.removed", {"file": "x"})  # the service's own words are what it is kept for


@pytest.mark.parametrize("what", ["link", "second name", "directory"])
def test_a_file_that_the_service_did_not_make_is_refused(directory, open_log, what) -> None:
    other, path = directory.parent / "other", directory / "pm.jsonl"
    if what == "directory":
        path.mkdir()
    else:
        other.write_bytes(b"")
        if what == "link":
            path.symlink_to(other)
        else:
            os.link(other, path)
    with pytest.raises((PrerequisiteError, BadInputError)):
        open_log()
    assert what == "directory" or other.read_bytes() == b""


def test_only_one_process_writes(directory, place) -> None:
    place.lock()
    with Place(directory) as second, pytest.raises(PrerequisiteError, match="another process"):
        second.lock()
    place.close()
    place.descriptor = os.open(directory, os.O_RDONLY)
    with Place(directory) as third:
        third.lock()


# Under kill -9, and at every single step.

WRITER = """
import sys
from pathlib import Path
from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.storage.log import AgentLog
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.record import Sender
from agency.workspace.audit.verify import verify_agent
bounds = Bounds(free_bytes=0, file_bytes=3000)
log = AgentLog(Place(Path(sys.argv[1])), "pm", Clock(), bounds)
while True:
    head = log.append(Sender(4711, 42), "x", {"text": "y" * 200})
    print(head.sequence, head.hash, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(directory, open_log, verify, records) -> None:
    acknowledged = {}
    for wanted in (1, 7, 20, 33):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True
        )
        lines = [child.stdout.readline() for _ in range(wanted)]
        child.kill()
        left, _ = child.communicate(timeout=60)
        lines += [line for line in left.splitlines(keepends=True) if line.endswith("\n")]
        acknowledged |= dict(line.split() for line in lines)
        assert verify().ok
    open_log()
    kept = {str(record["sequence"]): record["hash"] for record in records()}
    assert len(acknowledged) >= 61
    assert acknowledged.items() <= kept.items()
    assert verify().ok


# A full disk, for real.


@pytest.fixture
def small_disk(tmp_path: Path, free):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    path = tmp_path / "disk"
    path.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0750", "agency-test", str(path)]
    if subprocess.run(argv, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield path
    free(path)
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_refuses_and_nothing_half_written_counts(small_disk, moment) -> None:
    bounds = Bounds(free_bytes=0)
    with Place(small_disk) as place:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 40_000)
        log = AgentLog(place, AGENT, moment.clock(), bounds)
        try:
            with pytest.raises(LogFullError, match="the disk is full"):
                fill(log, "y" * 1000)
            head = log.head
            with pytest.raises(LogFullError):
                log.append(SENDER, "x", {"text": "y" * 1000})
            report = verify_agent(place, AGENT, head)
            assert (report.ok, report.unfinished, report.head) == (True, 0, head)
            ballast.unlink()
            after = log.append(SENDER, "x", {"text": "y" * 1000})
            assert after.sequence == head.sequence + 1
            report = verify_agent(place, AGENT, after)
            assert (report.ok, report.torn) == (True, 0)
        finally:
            log.close()


def test_what_could_not_be_cut_off_is_cut_off_later(open_log, verify, monkeypatch) -> None:
    """Half a record is written, and the disk fails again when it is to be taken back."""
    log = open_log()
    whole = log.append(SENDER, "x", {})

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        patch.setattr(os, "ftruncate", failing)
        with pytest.raises(PrerequisiteError, match="cannot write"):
            log.append(SENDER, "lost", {})
    assert log.head == whole
    after = log.append(SENDER, "y", {})
    assert after.sequence == whole.sequence + 1
    assert verify(after).ok
    assert verify().torn == 0


def test_the_test_can_tell_a_protected_file(directory, open_log) -> None:
    """Elsewhere flags are taken off to tamper; here they hold, or their absence has a reason."""
    log = open_log()
    if not log.protection.append_only:
        assert log.protection.reason
        pytest.skip(f"no append-only here: {log.protection.reason}")
    path = directory / "pm.jsonl"
    with pytest.raises(PermissionError):
        path.write_bytes(b"")
    with pytest.raises(PermissionError):
        path.unlink()
    with pytest.raises(PermissionError):
        path.rename(directory / "other")
    descriptor = os.open(path, os.O_RDONLY)
    assert flags.observe(descriptor).append_only
    os.close(descriptor)
