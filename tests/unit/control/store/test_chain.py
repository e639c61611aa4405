"""The audit chain finds every change; hypothesis makes the logs and the changes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agency.canonical import sha256_hex
from agency.chain import Head, link_hash
from agency.control.store.chain import (
    MAX_DETAIL_BYTES,
    AuditEntry,
    AuditRow,
    Outcome,
    audit_detail,
    genesis,
    next_row,
    verify_chain,
)

FIELDS = ("ts", "trace", "actor", "action", "target", "outcome", "detail", "previous", "hash")

texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.builds(
    AuditEntry,
    trace=texts,
    actor=texts,
    action=texts,
    target=texts,
    outcome=st.sampled_from(Outcome),
    detail=texts.map(lambda text: audit_detail(text=text)),
)


def make_log(written: list[AuditEntry], instance: str = "one") -> list[AuditRow]:
    head = Head(0, genesis(instance))
    rows = []
    for number, entry in enumerate(written):
        row = next_row(head, entry, f"2026-01-01T00:00:{number:02d}.000Z")
        rows.append(row)
        head = Head(row.sequence, row.hash)
    return rows


logs = st.lists(entries, min_size=1, max_size=8).map(make_log)


@given(st.lists(entries, max_size=8))
def test_untouched_log_verifies(written: list[AuditEntry]) -> None:
    rows = make_log(written)
    report = verify_chain(rows, instance="one")
    assert report.ok
    assert report.count == len(rows)
    assert report.head == (rows[-1].hash if rows else genesis("one"))


@given(logs, st.data())
def test_any_edit_of_any_field_is_found_at_its_row(
    rows: list[AuditRow], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(FIELDS))
    value = data.draw(texts)
    assume(value != getattr(rows[index], field))
    rows[index] = replace(rows[index], **{field: value})
    report = verify_chain(rows, instance="one")
    assert not report.ok
    assert report.first_bad == index + 1


@given(logs, st.data())
def test_edit_with_a_recomputed_hash_is_found_by_the_next_row(
    rows: list[AuditRow], data: st.DataObject
) -> None:
    assume(len(rows) > 1)
    index = data.draw(st.integers(0, len(rows) - 2))
    edited = replace(rows[index], actor=rows[index].actor + "x")
    rows[index] = replace(edited, hash=link_hash(edited))
    report = verify_chain(rows, instance="one")
    assert report.first_bad == index + 2


@given(logs, st.data())
def test_removed_row_is_found(rows: list[AuditRow], data: st.DataObject) -> None:
    assume(len(rows) > 1)
    index = data.draw(st.integers(0, len(rows) - 2))
    del rows[index]
    assert verify_chain(rows, instance="one").first_bad == index + 1


@given(logs, st.integers(1, 8))
def test_cut_end_is_found_by_a_kept_head(rows: list[AuditRow], cut: int) -> None:
    kept = Head(len(rows), rows[-1].hash)
    assert verify_chain(rows, instance="one", expected=kept).ok
    short = rows[: max(0, len(rows) - cut)]
    assert verify_chain(short, instance="one").ok, "without a kept head a cut cannot be seen"
    report = verify_chain(short, instance="one", expected=kept)
    assert report.first_bad == len(short) + 1


@given(logs, entries)
def test_older_head_stays_good_while_the_log_grows(rows: list[AuditRow], more: AuditEntry) -> None:
    kept = Head(len(rows), rows[-1].hash)
    grown = [*rows, next_row(kept, more, "2026-01-01T00:01:00.000Z")]
    assert verify_chain(grown, instance="one", expected=kept).ok
    assert verify_chain(grown, instance="one", expected=Head(0, genesis("one"))).ok


@given(logs, st.data())
def test_swapped_rows_are_found(rows: list[AuditRow], data: st.DataObject) -> None:
    assume(len(rows) > 1)
    first = data.draw(st.integers(0, len(rows) - 2))
    second = data.draw(st.integers(first + 1, len(rows) - 1))
    a, b = rows[first], rows[second]
    # Each takes the other's place, number included, as somebody would who wants no gap.
    rows[first] = replace(b, sequence=a.sequence)
    rows[second] = replace(a, sequence=b.sequence)
    assert verify_chain(rows, instance="one").first_bad == first + 1
    rows[first], rows[second] = b, a
    assert verify_chain(rows, instance="one").first_bad == first + 1


@given(logs, entries, st.data())
def test_inserted_row_is_found(
    rows: list[AuditRow], entry: AuditEntry, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    before = Head(index, rows[index - 1].hash if index else genesis("one"))
    forged = next_row(before, entry, "2026-01-01T00:00:30.000Z")
    assume(forged != rows[index])
    shifted = [replace(row, sequence=row.sequence + 1) for row in rows[index:]]
    report = verify_chain([*rows[:index], forged, *shifted], instance="one")
    assert report.first_bad == index + 2
    again = verify_chain([*rows[:index], forged, *rows[index:]], instance="one")
    assert again.first_bad == index + 1


@given(logs)
def test_log_of_another_instance_is_found(rows: list[AuditRow]) -> None:
    report = verify_chain(rows, instance="two")
    assert (report.ok, report.first_bad) == (False, 1)


def test_fields_do_not_run_into_one_another() -> None:
    one = make_log([AuditEntry("ab", "c", "d", "e", Outcome.DONE)])[0]
    other = make_log([AuditEntry("a", "bc", "d", "e", Outcome.DONE)])[0]
    assert one.hash != other.hash


@pytest.mark.parametrize("size", [MAX_DETAIL_BYTES, 1_000_000])
def test_long_detail_is_cut_and_keeps_the_digest_of_the_whole(size: int) -> None:
    detail = audit_detail(text="x" * size)
    assert len(detail.encode()) <= MAX_DETAIL_BYTES
    kept = json.loads(detail)
    whole = json.dumps({"text": "x" * size}, separators=(",", ":")).encode()
    assert kept["truncated"] is True
    assert kept["bytes"] == len(whole)
    assert kept["sha256"] == sha256_hex(whole)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=3000), max_size=5))
def test_detail_is_always_bounded_json(fields: dict[str, str]) -> None:
    detail = audit_detail(**fields)
    assert len(detail.encode()) <= MAX_DETAIL_BYTES
    assert isinstance(json.loads(detail), dict)


def test_half_a_surrogate_pair_is_spelled_out() -> None:
    assert json.loads(audit_detail(text="\ud800")) == {"text": "\\ud800"}
