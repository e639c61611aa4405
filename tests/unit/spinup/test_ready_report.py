"""The answer to `/ready` as programs read it, whatever it holds."""

from __future__ import annotations

import pytest

from agency.protocols import ReadyReport, as_report


def test_details_become_texts() -> None:
    body = {
        "ready": False,
        "reasons": ["the bot is not in the control room"],
        "warnings": [{"text": "pm is banned", "hint": "unban it"}, {"text": "away", "hint": ""}],
    }
    assert as_report(body) == ReadyReport(
        False, ("the bot is not in the control room",), ("pm is banned (unban it)", "away")
    )


@pytest.mark.parametrize("body", [None, [], "ready", {}, {"ready": "yes"}, {"ready": 1}])
def test_other_answers_are_not_ready(body: object) -> None:
    assert not as_report(body).ready


def test_what_a_terminal_would_obey_is_left_out_and_much_is_cut() -> None:
    body = {"ready": True, "reasons": ["a\x1b[2Jb\n"] * 1000, "warnings": [{"text": "x" * 10**5}]}
    report = as_report(body)
    assert report.reasons[0] == "a?[2Jb?"
    assert len(report.reasons) <= 64
    assert len(report.warnings[0]) <= 1000
