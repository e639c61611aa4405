"""What has no program yet is refused by name; without it the rest of a machine is whole."""

from __future__ import annotations

from typing import Any

from agency.unwritten import FEATURES, UNWRITTEN

# Turned on by GitLab alone, and only where they may be.
FOLLOWS = {"gitlab-runner"}


def test_every_feature_without_its_program_is_refused_by_name(report: dict[str, Any]) -> None:
    refused = [one for one in report["unpreviewed"] if one.startswith("agency.preview: ")]
    for feature in set(FEATURES) - FOLLOWS - {"sandbox"}:
        (message,) = (one for one in refused if f"the program of {feature}, for agency-" in one)
        option = next(entry.option for entry in UNWRITTEN if entry.feature == feature)
        assert f"Turn {option} off, or list {feature} under preview" in message


def test_with_preview_nothing_is_refused(report: dict[str, Any]) -> None:
    """The positive control: the same machine, whose instance names every feature."""
    assert report["agency"]["failing"] == []


def test_gitlab_runs_without_what_has_no_program(report: dict[str, Any]) -> None:
    alone = report["gitlabUnpreviewed"]
    assert (alone["failing"], alone["warnings"]) == ([], [])
    assert "agency-sandbox" not in alone["units"]
    previewed = report["alone"]["gitlab"]
    assert "agency-sandbox" in previewed["units"]


def test_a_unit_without_its_program_is_not_restarted_for_ever(report: dict[str, Any]) -> None:
    waiting = {entry.words for entry in UNWRITTEN}
    seen = set()
    for name, command in report["agency"]["units"].items():
        words = next((w for w in waiting if tuple(command[: len(w)]) == w), None)
        text = report["agency"]["unitTexts"][f"{name}.service"]
        if words and "Restart=" in text:
            seen.add(words)
        expected = words is not None and "Type=exec" in text
        assert ("RestartPreventExitStatus=3" in text) == expected, name
    assert len(seen) >= 5
