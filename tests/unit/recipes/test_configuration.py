"""The configuration of recipe CI, as NixOS writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.recipes.configuration import read_config

WRITTEN: dict[str, Any] = {
    "domain": "example.org",
    "engine": "builtin",
    "maxTests": 2,
    "buildTimeoutMinutes": 60,
    "recipes": {"wiki": {"repository": "team/wiki"}},
    "forge": {"kind": "gitea", "url": "https://git.example.org"},
    "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
    "ports": {"bridge": 8100, "dashboard": 8101},
    "wildcard": "*.ci.example.org",
    "state": "/var/lib/agency-recipes",
}


def write(place: Path, **change: object) -> Path:
    path = place / "recipes.json"
    path.write_text(json.dumps(WRITTEN | change))
    return path


def test_it_is_read(tmp_path: Path) -> None:
    config = read_config(write(tmp_path))
    assert config.zone == "ci.example.org"
    assert config.recipe_of == {"team/wiki": "wiki"}
    assert (config.max_tests, config.build_timeout_minutes) == (2, 60)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"maxTests": 0}, "maxTests"),
        ({"forge": {"kind": "sourcehut", "url": "x"}}, "forge.kind"),
        ({"more": 1}, "more"),
    ],
)
def test_a_fault_is_told_with_its_place(
    change: dict[str, object], where: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as caught:
        read_config(write(tmp_path, **change))
    assert str(caught.value.where).endswith(f": {where}")


def test_no_file_says_which_setting_makes_it(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        read_config(tmp_path / "recipes.json")
    assert "services.ci.enable" in str(caught.value.hint)
