"""Sentences about one agent: whatever befell it, the room reads what it was and what was done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agency.control.agents import wording
from agency.control.agents.documents import plan_document
from agency.control.agents.history import Difference, Episode, History, Holding, Respawns
from agency.control.agents.seen import Document, Seen, drift_of, problem_of
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish
from agency.protocols import AgentStatus

RUNS = Seen(
    name="pm",
    wish=Wish(Desired.RUNNING, "app"),
    wished_ts=1,
    known="running",
    known_handle="6",
    state=State.RUNNING,
    handle="7",
    running_as="pid 7",
)
DIED = Episode(Difference.DEAD, "exit status 1", "t-1")
GIVEN_UP = "pm died (exit status 1), and has failed for good"
DOWN = replace(RUNS, wish=Wish(Desired.STOPPED))
DEAD = replace(RUNS, state=State.FAILED, reason="exit status 1")


@pytest.mark.parametrize(
    ("seen", "episode", "tries", "said"),
    [
        (RUNS, DIED, 1, "pm died (exit status 1) and was started again (pid 7)."),
        (
            RUNS,
            DIED,
            0,
            "pm died (exit status 1) and was started again, but not by the control plane (pid 7).",
        ),
        (RUNS, replace(DIED, told=True), 1, "pm runs again (pid 7)."),
        (RUNS, replace(DIED, told=True), 2, "pm runs again (pid 7), after 2 attempts."),
        (
            replace(DOWN, state=State.STOPPED),
            replace(DIED, told=True),
            1,
            "pm is stopped.",
        ),
        (
            DOWN,
            Episode(Difference.UNWANTED, "", ""),
            1,
            "pm ran although it is not to, and was stopped: pm is to be stopped.",
        ),
        (
            RUNS,
            Episode(Difference.SILENT, "no answer.", ""),
            1,
            "pm ran and did not answer (no answer) and was restarted (pid 7).",
        ),
    ],
)
def test_what_is_mended(seen: Seen, episode: Episode, tries: int, said: str) -> None:
    assert wording.mended(seen, episode, tries) == said


@pytest.mark.parametrize(
    ("reason", "now"),
    [
        ("did not start: no port.", "; now it did not start: no port"),
        ("exit status 1", ""),
    ],
)
def test_what_is_not_mended_yet(reason: str, now: str) -> None:
    assert wording.tried_again(replace(DEAD, reason=reason), DIED, 20.4) == (
        f"pm died (exit status 1), and that is not mended yet{now}. It is tried again in 20 s, "
        "then ever more seldom."
    )


@pytest.mark.parametrize(
    ("history", "last", "said"),
    [
        (
            History(episode=DIED, tries=3),
            "did not start: no port.",
            f"{GIVEN_UP}: 3 attempts in a row (the last: it did not start: no port)",
        ),
        (
            History(episode=DIED, tries=1),
            "the store does not answer",
            f"{GIVEN_UP}: 1 attempt (the last: the store does not answer)",
        ),
        (
            History(episode=DIED),
            "",
            f"{GIVEN_UP}: no attempt is allowed",
        ),
        (
            History(tries=2),
            "",
            "pm is not as wished, and has failed for good: 2 attempts in a row",
        ),
    ],
)
def test_what_is_given_up(history: History, last: str, said: str) -> None:
    assert wording.given_up("pm", history, last) == said


def test_another_process_and_safe_mode() -> None:
    assert wording.restarted_elsewhere(RUNS) == (
        "pm was restarted, but not by the control plane: its handle was 6, and it runs as pid 7."
    )
    assert wording.left_so(DEAD, Episode(Difference.DEAD, "", "")) == (
        "pm was found stopped. Safe mode is on, so it is left so."
    )
    assert wording.traced("It died.", DIED) == "It died. Trace: t-1"


@pytest.mark.parametrize(
    ("seen", "episode"),
    [
        (RUNS, None),
        (DEAD, Episode(Difference.DEAD, "exit status 1", "")),
        (DOWN, Episode(Difference.UNWANTED, "", "")),
        (replace(DOWN, state=State.STOPPED), None),
        (replace(RUNS, unheard="no answer"), Episode(Difference.SILENT, "no answer", "")),
        (replace(RUNS, drift="its role"), Episode(Difference.DRIFTED, "its role", "")),
        (
            replace(RUNS, wish=Wish(Desired.DELETED)),
            Episode(Difference.UNDELETED, "", ""),
        ),
    ],
)
def test_how_an_agent_differs_from_its_wish(seen: Seen, episode: Episode | None) -> None:
    assert problem_of(seen) == episode


def report(role: str, project: str | None) -> AgentStatus:
    return AgentStatus.model_construct(role=role, project=project)


def test_how_its_configuration_differs() -> None:
    assert drift_of("pm", RUNS.wish, report("pm", "app")) == ""
    assert drift_of("pm", RUNS.wish, None) == ""
    assert drift_of("pm", DOWN.wish, report("dev", None)) == ""
    assert drift_of("pm", RUNS.wish, report("dev", "app")) == "its role is dev, not pm"
    assert drift_of("pm", RUNS.wish, report("pm", None)) == (
        "it has no project, not the project app"
    )


@pytest.mark.parametrize(
    ("held", "is_version", "said"),
    [
        (None, True, "it held no Gosuto any more, not version 4"),
        ("aa", True, "it held an old version of its Gosuto, sha256:aa, not version 4"),
        ("bb", False, "it held a Gosuto that nobody gave it, sha256:bb, not version 4"),
    ],
)
def test_how_its_document_differs(held: str | None, is_version: bool, said: str) -> None:
    document = Document("run 1", held, "cc", 4, is_version)
    before = Holding("run 1", "cc", had=True, right_s=5.0)
    planned = plan_document(document, before, Respawns(), 100.0, "t-2", act=True, tell=True)
    assert planned.noticed == Episode(Difference.ALTERED, said, "t-2")
    assert planned.push
    assert planned.holding.right_s is None, "it is right no more"
