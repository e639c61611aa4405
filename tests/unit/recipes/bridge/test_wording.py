"""Texts for the forge: nothing of others leaves its block, and everything is bounded."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.forge import CommitState
from agency.recipes.bridge.words.markdown import code, fenced
from agency.recipes.bridge.words.wording import (
    marker,
    run_comment,
    run_status,
    stop_reply,
    unknown_reply,
)
from agency.recipes.record.run import Order, Run, RunState

ORDER = Order(
    recipe="wiki",
    project="team/wiki",
    pull_request=7,
    commit="a" * 40,
    head_ref="refs/pull/7/head",
    clone_url="https://forge.example.org/team/wiki.git",
    stages=("install", "upgrade"),
    requester="ada",
    comment=100,
)
RUN = Run("r00000001", 1, ORDER, RunState.QUEUED, 1000)
RESULT = {
    "stages": [
        {"name": "install", "outcome": "pass", "seconds": 15.6, "reason": ""},
        {
            "name": "upgrade",
            "outcome": "fail",
            "seconds": 75,
            "reason": "1 of 4 tests failed",
            "tests": [
                {"name": "test_a", "outcome": "pass", "reason": ""},
                {"name": "test_b", "outcome": "fail", "reason": "assert 502 == 200"},
            ],
        },
    ]
}
FAILED = replace(
    RUN,
    state=RunState.FAILED,
    started_ts=1000,
    ended_ts=92_000,
    reason="a stage failed",
    result=json.dumps(RESULT),
)


def test_a_queued_run_is_told_with_its_page() -> None:
    text = run_comment(RUN, "ci.example.org", "A note.")
    assert "[r00000001](https://ci.example.org/runs/r00000001)" in text
    assert "is queued" in text
    assert "`aaaaaaaaaaaa`" in text
    assert "A note." in text
    assert text.endswith(marker(100))


def test_a_failed_run_has_its_stages_and_the_first_reason() -> None:
    text = run_comment(FAILED, "ci.example.org")
    assert "| `install` | `pass` | 16 s |" in text
    assert "| `upgrade` | `fail` | 1 min 15 s |" in text
    assert "```text\nupgrade: 1 of 4 tests failed\ntest_b: assert 502 == 200\n```" in text
    assert "It took 1 min 31 s." in text
    status = run_status(FAILED, "ci.example.org")
    assert (status.name, status.state) == ("agency/recipes", CommitState.FAILURE)
    assert status.description.startswith("r00000001 failed: upgrade: 1 of 4")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (RunState.QUEUED, CommitState.PENDING),
        (RunState.RUNNING, CommitState.RUNNING),
        (RunState.PASSED, CommitState.SUCCESS),
        (RunState.FAILED, CommitState.FAILURE),
        (RunState.ERROR, CommitState.FAILURE),
        (RunState.TIMED_OUT, CommitState.FAILURE),
        (RunState.CANCELLED, CommitState.FAILURE),
        (RunState.REPLACED, CommitState.FAILURE),
    ],
)
def test_only_a_pass_is_green(state: RunState, told: CommitState) -> None:
    assert run_status(replace(RUN, state=state), "ci.example.org").state is told


@pytest.mark.parametrize(
    "result", ["", "{", "[]", '{"stages": 3}', '{"stages": [1, {"name": 1}]}', '"x"', "9" * 9999]
)
def test_a_result_that_cannot_be_read_hides_nothing(result: str) -> None:
    run = replace(FAILED, result=result)
    assert "a stage failed" in run_comment(run, "ci.example.org")
    assert len(run_status(run, "ci.example.org").description) <= 140


HOSTILE = "@ada ```\n/close\n[x](http://evil) <!-- --> #1 !2 \x1b[31m | `a` \u202e"


def test_what_others_wrote_stays_in_its_block() -> None:
    run = replace(FAILED, result="{}", reason=HOSTILE)
    text = run_comment(run, "ci.example.org")
    block = re.search(r"^(`{4,})text\n(.*?)\n\1$", text, re.M | re.S)
    assert block is not None
    outside = text.replace(block[0], "")
    assert "@" not in outside
    assert "evil" not in outside
    assert "/close" not in outside
    assert not any(c in text for c in ("\x1b", "\u202e"))
    assert "@" not in re.sub(r"`[^`]*`", "", unknown_reply([HOSTILE]))


@given(st.text(max_size=400), st.integers(10, 100))
def test_no_text_leaves_a_block(text: str, most: int) -> None:
    first, *body, last = fenced(text, most).split("\n")
    assert first == f"{last}text"
    assert set(last) == {"`"}
    assert all(last not in line for line in body)
    assert len("\n".join(body)) <= most


@given(st.text(max_size=200))
def test_no_name_leaves_its_span(text: str) -> None:
    found = code(text, 80)
    assert found[0] == found[-1] == "`"
    assert not set(found[1:-1]) & set("`|\n")
    assert 3 <= len(found) <= 82


@given(st.text(max_size=5000), st.text(max_size=5000))
def test_a_comment_is_bounded(reason: str, name: str) -> None:
    stage = {"name": name, "outcome": "fail", "reason": reason, "seconds": 1}
    run = replace(FAILED, result=json.dumps({"stages": [stage] * 50}))
    assert len(run_comment(run, "ci.example.org")) < 5000


def test_stop_names_what_it_stops() -> None:
    assert "[r00000001](https://ci.example.org/runs/r00000001)" in stop_reply(
        [RUN], "ci.example.org"
    )
    assert "Nothing" in stop_reply([], "ci.example.org")
