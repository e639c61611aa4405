"""Looking for secrets: in what a program prints, and in the places of a machine."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from agency.control.config import AgentEntry, ControlConfig
from agency.errors import AgencyError
from agency.secrets.values import SecretValue
from agency.spinup.observe.commands import Answer, Request, answer
from agency.spinup.observe.machine import READ_JOURNAL, ThisMachine
from agency.spinup.probes import secrecy

SECRET = "correct-horse-battery-staple"
VALUES = [SecretValue(SECRET)]
SOUGHT = secrecy.Sought.of(VALUES)


def prints(program: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", f"import sys, time; write = sys.stdout.write; {program}")


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("write('MESSAGE=nothing of note')", False),
        (f"write('MESSAGE={SECRET}')", True),
        (f"write('a' * 100_000 + '{SECRET}' + 'b' * 100_000)", True),
        (f"sys.stdout.buffer.write(b'\\x1b[1m\\xff\\x00{SECRET}\\n')", True),
    ],
    ids=["clean", "plain", "long", "unprintable"],
)
def test_what_a_program_prints_is_searched(program: str, found: bool) -> None:
    seen = secrecy.search_output(SOUGHT, prints(program), timeout_s=30)
    assert seen.leaked is found
    assert seen.size >= len("MESSAGE=nothing of note")


def test_a_secret_that_is_cut_in_two_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_CHUNK", 16)
    program = f"write('x' * 10 + '{SECRET}' + 'y' * 100)"
    seen = secrecy.search_output(SOUGHT, prints(program), timeout_s=30)
    assert (seen.size, seen.leaked) == (110 + len(SECRET), True)


@pytest.mark.parametrize(("end", "places"), [(SECRET[20:], ["log"]), ("another end", [])])
def test_a_secret_that_is_cut_in_two_in_a_file_is_found(
    end: str, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrecy, "_CHUNK", 16)
    log = tmp_path / "log"
    log.write_text("x" * 10 + SECRET[:20] + end + "y" * 100)
    assert secrecy.search(VALUES, files=[log], pids=())["places"] == places


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (prints("write('')"), "nothing was searched"),
        (prints("write('some'); sys.exit(3)"), "exit status 3"),
        (prints("write('some'); sys.stdout.flush(); time.sleep(60)"), "no end after 0.2 s"),
        (("/nowhere/journalctl",), "is not installed"),
    ],
    ids=["empty", "fails", "never ends", "not there"],
)
def test_a_search_that_was_none_is_an_error(argv: tuple[str, ...], words: str) -> None:
    with pytest.raises(AgencyError, match=re.escape(words)):
        secrecy.search_output(SOUGHT, argv, timeout_s=0.2 if "0.2" in words else 30)


def test_the_journal_is_read_with_what_is_long_or_unprintable() -> None:
    # Without the first, journalctl leaves out long fields; JSON makes lists of unprintable ones.
    assert {"--all", "--output=export"} <= set(READ_JOURNAL)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThisMachine:
    """A machine of one process and with all files below a directory; an agent runs."""
    monkeypatch.setattr(ThisMachine, "pids", lambda _: [os.getpid()])
    for name in ("etc", "handover", "home/agent-pm/work", "home/alice", "var/log/app/journal"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/plain").write_text("nothing")
    (tmp_path / "handover/pm.token").write_text("token-of-the-agent-pm")
    config = ControlConfig(
        instance="sample",
        domain="a.example",
        homeserver_url="http://127.0.0.1:8008",
        listen_port=8010,
        bot_id="@agency:a.example",
        control_room_alias="#control:a.example",
        operators=("@alice:a.example",),
        agents=(AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:a.example", port=24875),),
        database_url="sqlite+aiosqlite:///none.db",
        state_dir=tmp_path,
        runtime="systemd",
    )
    return ThisMachine(
        config,
        handover=tmp_path / "handover",
        searched=(tmp_path / "etc", tmp_path / "var/log"),
        homes=tmp_path / "home",
        journal=prints("write('MESSAGE=nothing of note')"),
    )


async def searched(machine: ThisMachine) -> Answer:
    told = {"values": [SECRET, SECRET, "another-secret"]}
    return await answer(machine, Request(probe="secrets.search", told=told))


async def test_a_clean_machine_is_clean(machine: ThisMachine) -> None:
    seen = (await searched(machine)).evidence
    assert seen is not None
    assert (seen["findings"], seen["places"]) == (0, [])
    assert seen["secretsChecked"] == 3, "each value once, and the agent's own token"
    assert seen["filesSearched"] == 1
    assert seen["journalBytes"] == len("MESSAGE=nothing of note")


# A test's name may be in its process's title, which is searched too: it must not say the value.
@pytest.mark.parametrize("value", [SECRET, "token-of-the-agent-pm"], ids=["secret", "token"])
@pytest.mark.parametrize(
    "place", ["etc/leak", "home/agent-pm/work/leak", "var/log/app/journal/leak"]
)
async def test_a_secret_in_a_file_is_found(
    place: str, value: str, machine: ThisMachine, tmp_path: Path
) -> None:
    (tmp_path / place).write_text(f"password: {value}\n")
    seen = (await searched(machine)).evidence
    assert seen is not None
    assert (seen["findings"], seen["places"]) == (1, ["leak"])


async def test_the_homes_of_people_are_their_own(machine: ThisMachine, tmp_path: Path) -> None:
    (tmp_path / "home/alice/diary").write_text(SECRET)
    seen = (await searched(machine)).evidence
    assert seen is not None
    assert seen["findings"] == 0


async def test_a_secret_in_the_journal_is_found(machine: ThisMachine) -> None:
    config = {**vars_of(machine), "journal": prints(f"write('MESSAGE={SECRET}')")}
    seen = (await searched(ThisMachine(**config))).evidence
    assert seen is not None
    assert (seen["findings"], seen["places"]) == (1, ["journal"])


async def test_a_machine_without_a_journal_is_not_called_clean(machine: ThisMachine) -> None:
    config = {**vars_of(machine), "journal": prints("pass")}
    found = await searched(ThisMachine(**config))
    assert found.evidence is None
    assert "nothing was searched" in str(found.error)


def vars_of(machine: ThisMachine) -> dict[str, object]:
    return {name: getattr(machine, name) for name in ThisMachine.__dataclass_fields__}


async def test_an_answer_that_cannot_be_read_is_one_that_says_so(
    machine: ThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def health(*_: object) -> object:
        return json.loads("<html>403</html>")

    monkeypatch.setattr("agency.spinup.probes.agents._health", health)
    found = await answer(machine, Request(probe="agents.health"))
    assert found.evidence is None
    assert "JSONDecodeError" in str(found.error)


async def test_what_was_planted_is_found_by_the_search_that_finds_no_secret(
    machine: ThisMachine, tmp_path: Path
) -> None:
    """The positive control: the same search, over the same places."""
    mark = "canary-" + "0123456789ab" * 2
    (tmp_path / "etc/note").write_text(f"said: {mark}\n")
    journal = prints(f"write('MESSAGE=trace {mark}')")
    planted = ThisMachine(**{**vars_of(machine), "journal": journal})
    told = {"values": [SECRET], "planted": mark}
    seen = (await answer(planted, Request(probe="secrets.search", told=told))).evidence
    assert seen is not None
    assert (seen["findings"], seen["places"]) == (0, [])
    assert seen["planted"] == {"findings": 2, "places": ["journal", "note"]}
    (tmp_path / "etc/note").write_text(f"said: {mark} {SECRET}\n")
    seen = (await answer(machine, Request(probe="secrets.search", told=told))).evidence
    assert seen is not None
    assert (seen["findings"], seen["places"]) == (1, ["note"])
    assert seen["planted"] == {"findings": 1, "places": ["note"]}


def test_texts_are_searched_for_both() -> None:
    sought = secrecy.Sought.of(VALUES, "a planted text")
    seen = secrecy.search_texts(sought, ["nothing", "a planted text", SECRET], "room")
    assert seen == {
        "findings": 1,
        "places": ["room"],
        "planted": {"findings": 1, "places": ["room"]},
    }
    both = secrecy.joined(seen, secrecy.search_texts(sought, [SECRET], "evidence"))
    assert (both["findings"], both["places"]) == (2, ["evidence", "room"])
