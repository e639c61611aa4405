"""The forge of an instance: its own GitLab, or one elsewhere; and the engine that needs a Gitea."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agency.errors import AgencyError
from agency.instance.load import load_instance
from agency.instance.problems import InstanceError

ELSEWHERE = "forge: {url: 'https://git.example.org'}\n"
ACTIONS = (
    "services: {edge: {enable: true}, swarm: {enable: true}, traefik: {enable: true},\n"
    "  ci: {enable: true, engine: gitea-actions}}\n"
)


def test_a_forge_elsewhere_is_a_gitea_if_nothing_else_is_said(
    write: Callable[[str], Path], good: str
) -> None:
    instance = load_instance(write(good + ELSEWHERE + ACTIONS), check_recipients=False).instance
    assert instance.forge is not None
    assert (instance.forge.kind, instance.forge.url) == ("gitea", "https://git.example.org")
    assert instance.services.ci.engine == "gitea-actions"


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        (
            "services:\n  edge: {enable: true}\n  gitlab: {enable: true}\n" + ELSEWHERE,
            "forge",
            "there is one forge",
        ),
        (
            ELSEWHERE.replace("url", "kind: gitlab, url") + ACTIONS,
            "services.ci.engine",
            "gitea-actions needs a Gitea",
        ),
        (
            ACTIONS.replace("edge:", "gitlab: {enable: true}, edge:"),
            "services.ci.engine",
            "gitea-actions needs a Gitea",
        ),
        ("forge: {url: 'http://git.example.org'}\n", "forge.url", ""),
        ("forge: {kind: gitea}\n", "forge.url", ""),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(
    write: Callable[[str], Path], good: str, text: str, field: str, says: str
) -> None:
    with pytest.raises(InstanceError) as caught:
        load_instance(write(good + text), check_recipients=False)
    assert isinstance(caught.value, AgencyError)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert says in problem.message
    assert problem.line is not None
