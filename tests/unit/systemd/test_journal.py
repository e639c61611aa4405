"""Reading journalctl, also when it does what it should not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.systemd import journal
from agency.systemd.errors import JournalError
from agency.systemd.journal import Entry, entries, tail

Program = Callable[[str], None]


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a program in journalctl's place: for faults that a real one rarely has."""

    def journalctl(body: str) -> None:
        program = tmp_path / "journalctl"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return journalctl


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_entries_are_read_from_every_form_of_a_message() -> None:
    output = (
        line(MESSAGE="plain", __REALTIME_TIMESTAMP="1800000000000000", _PID="7")
        + line(MESSAGE=list(b"\xff bytes"), SYSLOG_IDENTIFIER="who")
        + line(MESSAGE=None)
        + line(MESSAGE=[["twice"], ["there"]])
        + b'{"MESSAGE": "cut'
        + b"\n[1]\n\n"
    )
    assert entries(output) == [
        Entry("plain", 1_800_000_000.0, "", "7"),
        Entry("\ufffd bytes", None, "who", ""),
        Entry(""),
    ]


def test_an_entry_as_a_line() -> None:
    assert Entry("hello", 0.0, "nginx", "7").line == "1970-01-01T00:00:00.000Z nginx[7]: hello"
    assert Entry("hello").line == "- -: hello"


async def test_what_is_asked_of_journalctl(journalctl: Program, tmp_path: Path) -> None:
    journalctl(f'printf "%s\\n" "$@" > {tmp_path}/argv')
    await tail("x.service", 7, invocation="abc", this_boot=True)
    asked = (tmp_path / "argv").read_text().splitlines()
    assert {"--unit=x.service", "--lines=7", "--boot", "_SYSTEMD_INVOCATION_ID=abc"} <= {*asked}
    await tail("x.service", 7)
    asked = (tmp_path / "argv").read_text().splitlines()
    assert "--boot" not in asked
    assert not any("INVOCATION" in word for word in asked)


async def test_a_failure_is_told_by_its_last_words(journalctl: Program) -> None:
    journalctl("echo first >&2; echo 'No journal files were opened' >&2; exit 1")
    with pytest.raises(JournalError, match="No journal files were opened") as caught:
        await tail("x.service", 5)
    assert caught.value.where == "x.service"
    journalctl("exit 3")
    with pytest.raises(JournalError, match="exit status 3"):
        await tail("x.service", 5)
    journalctl("exit 0")
    assert await tail("x.service", 5) == ()


async def test_without_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JournalError, match="No such file"):
        await tail("x.service", 5)


async def test_one_that_does_not_end_is_ended(
    journalctl: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_TIMEOUT_S", 0.5)
    journalctl(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(JournalError, match="did not come within"):
        await tail("x.service", 5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_what_it_says_is_bounded_and_the_newest_is_kept(journalctl: Program) -> None:
    journalctl(
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); "
        'printf \'{"MESSAGE":"%d %01000d"}\\n\' $i 0; done'
    )
    found = await tail("x.service", 5000)
    assert found[-1].message.startswith("3000 ")
    assert 900 < len(found) < 1100, "1 MiB of it"
