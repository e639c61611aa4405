"""Whatever is changed in the files is found, with file and line; what the service did is not."""

import json
import shutil
from dataclasses import replace

import pytest

from agency.canonical import canonical_json
from agency.chain import Head, link_hash
from agency.workspace.audit.bounds import DAY_S, Bounds
from agency.workspace.audit.record import Sender, parse_record
from agency.workspace.audit.storage.logs import Logs

AGENT = "pm"
SENDER = Sender(4711, 42)
SMALL = Bounds(free_bytes=0, file_bytes=1500)


@pytest.fixture
def written(directory, open_log, free) -> list:
    """A log of several files that anybody may change; its files, oldest first."""
    log = open_log(SMALL)
    for number in range(20):
        log.append(SENDER, "x", {"n": number})
    log.close()
    free(directory)
    files = [*sorted(directory.glob("pm.*-*.jsonl")), directory / "pm.jsonl"]
    assert len(files) >= 4
    return files


def lines_of(file) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def broken_at(report, file, line: int) -> str:
    assert not report.ok
    assert (report.broken.file, report.broken.line) == (file.name, line)
    return report.broken.reason


def test_an_edited_record(written, verify) -> None:
    assert verify().ok
    for file in written:
        before = lines_of(file)
        for number, line in enumerate(before, 1):
            edited = line.replace(b'"pid":', b'"pid":1')
            file.write_bytes(b"".join([*before[: number - 1], edited, *before[number:]]))
            assert "was edited" in broken_at(verify(), file, number)
        file.write_bytes(b"".join(before))
    assert verify().ok


def test_an_edited_record_with_a_hash_of_its_own(written, verify) -> None:
    before = lines_of(written[1])
    record = replace(parse_record(before[1]), detail={"n": 99})
    before[1] = replace(record, hash=link_hash(record)).line()
    written[1].write_bytes(b"".join(before))
    assert "does not follow" in broken_at(verify(), written[1], 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_record_taken_out(written, verify, number) -> None:
    before = lines_of(written[1])
    written[1].write_bytes(b"".join(before[: number - 1] + before[number:]))
    assert "is record" in broken_at(verify(), written[1], number)


def test_two_records_swapped(written, verify) -> None:
    first, second, *rest = lines_of(written[1])
    written[1].write_bytes(b"".join([second, first, *rest]))
    broken_at(verify(), written[1], 1)


def test_a_record_twice(written, verify) -> None:
    first, *rest = lines_of(written[-1])
    written[-1].write_bytes(b"".join([first, first, *rest]))
    broken_at(verify(), written[-1], 2)


def test_the_end_of_a_closed_file_cut_off(written, verify) -> None:
    before = lines_of(written[0])
    written[0].write_bytes(b"".join(before[:-1]))
    broken_at(verify(), written[0], len(before) - 1)


def test_something_after_the_end_of_a_closed_file(written, verify) -> None:
    before = lines_of(written[0])
    written[0].write_bytes(b"".join([*before, b"x"]))
    broken_at(verify(), written[0], len(before) + 1)


@pytest.mark.parametrize("which", [0, 1])
def test_a_whole_file_taken_away(written, verify, which) -> None:
    written[which].unlink()
    reason = broken_at(verify(), written[which + 1], 1)
    assert ("are gone" if which == 0 else "is record") in reason


def test_a_file_under_another_name(written, directory, verify) -> None:
    other = directory / "pm.000000000001-000000009999.jsonl"
    written[0].rename(other)
    assert "name" in broken_at(verify(), other, 0)


def test_another_agents_log_under_this_name(written, directory, place) -> None:
    from agency.workspace.audit.verify import verify_agent

    for file in written:
        shutil.copy(file, directory / file.name.replace("pm.", "dev."))
    assert verify_agent(place, "pm").ok
    assert "another agent's" in verify_agent(place, "dev").broken.reason


def test_an_end_cut_off_is_found_by_a_kept_head(written, verify, open_log) -> None:
    last = json.loads(lines_of(written[-1])[-1])
    head = Head(last["sequence"], last["hash"])
    assert verify(head).ok
    assert not verify(Head(head.sequence, "0" * 64)).ok
    written[-1].write_bytes(b"".join(lines_of(written[-1])[:-1]))
    assert verify().ok, "a chain alone does not show it"
    assert f"no record {head.sequence}" in verify(head).broken.reason


def test_half_a_line_is_no_record_and_no_break(written, verify) -> None:
    with written[-1].open("ab") as handle:
        handle.write(b'{"agent"')
    assert verify().ok
    assert verify().unfinished == 8


@pytest.mark.parametrize("rubbish", [b"\n", b"[" * 9000 + b"\n", b"\xff\n", b"x" * 70_000])
def test_rubbish_never_passes(written, verify, rubbish) -> None:
    before = lines_of(written[-1])
    written[-1].write_bytes(b"".join(before) + rubbish)
    broken_at(verify(), written[-1], len(before) + 1)


def test_records_that_claim_a_removal_have_odd_fields(written, verify) -> None:
    """Well-made records of rubbish are found to be rubbish; nothing is raised."""
    written[0].unlink()
    before = lines_of(written[-1])
    last = parse_record(before[-1])
    for detail in ({"last": "x"}, {"last": None, "hash": 3}, {"file": []}):
        record = replace(last, event="log.removed", detail=detail)
        before[-1] = (
            canonical_json({**json.loads(record.line()), "hash": link_hash(record)}) + b"\n"
        )
        written[-1].write_bytes(b"".join(before))
        assert "are gone" in verify().broken.reason


# Retention: what the service removes is on record, and what it does not remove is not excused.


@pytest.fixture
def housekept(place, moment):
    bounds = Bounds(free_bytes=0)
    logs = Logs(place, moment.clock(), bounds, retention_days=2)
    yield logs
    logs.close()


def test_removed_files_are_on_record(directory, housekept, moment, verify, records) -> None:
    for day in range(6):
        housekept.append(AGENT, SENDER, "x", {"day": day})
        housekept.housekeep()
        moment.now += DAY_S
        assert verify().ok
    housekept.housekeep()
    kept = [record["detail"]["day"] for record in records() if record["event"] == "x"]
    assert kept == [4, 5] or kept == [3, 4, 5]
    removed = [record["detail"] for record in records() if record["event"] == "log.removed"]
    assert removed
    assert not any((directory / detail["file"]).exists() for detail in removed)
    report = verify()
    assert report.ok
    assert report.first == removed[-1]["last"] + 1


def test_nothing_is_removed_before_its_time(directory, housekept, moment, records) -> None:
    housekept.append(AGENT, SENDER, "x", {})
    housekept.housekeep()
    moment.now += DAY_S
    housekept.housekeep()
    moment.now += 1.9 * DAY_S
    housekept.housekeep()
    assert records()[1]["event"] == "x"
    moment.now += 0.2 * DAY_S
    housekept.housekeep()
    assert "x" not in [record["event"] for record in records()]


def test_a_removal_that_is_not_on_record_is_found(directory, housekept, moment, verify, free):
    for _ in range(4):
        housekept.append(AGENT, SENDER, "x", {})
        moment.now += DAY_S
        housekept.housekeep()
    assert verify().ok
    assert verify().first > 1
    free(directory)
    sorted(directory.glob("pm.*-*.jsonl"))[0].unlink()
    assert "are gone" in verify().broken.reason


def test_housekeeping_leaves_other_files_alone(directory, housekept, moment) -> None:
    others = [directory / name for name in ("notes.txt", "PM.jsonl", "pm.jsonl.bak", "a.b.jsonl")]
    for other in others:
        other.write_text("x")
    housekept.append(AGENT, SENDER, "x", {})
    moment.now += 100 * DAY_S
    housekept.housekeep()
    assert all(other.read_text() == "x" for other in others)


def test_one_broken_log_does_not_stop_the_others(directory, housekept, records, caplog) -> None:
    (directory / "dev.jsonl").mkdir()
    housekept.open_all()
    housekept.append(AGENT, SENDER, "x", {})
    housekept.housekeep()
    assert records()[-1]["event"] == "x"
    assert any(getattr(r, "fields", {}).get("agent") == "dev" for r in caplog.records)
