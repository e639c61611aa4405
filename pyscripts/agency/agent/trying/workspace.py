"""Workspace of a trial: a clone in which the coding tools work, and the settings that name it.

Where no repository is named there is an example, whose one test fails.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from agency.errors import BadInputError
from agency.gosuto import Template
from agency.programs import find_program, run_to_end

NAME = "app"
_VARIABLES = frozenset({"repository", "settings"})
_CHECK = ("python3", "-B", "-m", "unittest", "-q")
_TIME_S = 120.0
_PERSON = ("-c", "user.name=Agency", "-c", "user.email=agency@try.invalid")
EXAMPLE: Mapping[str, str] = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "test_calc.py": (
        "import unittest\n\nfrom calc import add\n\n\n"
        "class Adding(unittest.TestCase):\n"
        "    def test_it(self):\n        self.assertEqual(add(2, 3), 5)\n"
    ),
}


def wants_repository(template: Template) -> bool:
    """Return whether the tools of a template work in a repository. Pure."""
    return set(template.variables) >= _VARIABLES


def settings_document(agent: str, home: Path, checks: Sequence[Sequence[str]]) -> dict[str, object]:
    """Write the settings of an agent that codes, as a host has them. Pure."""
    return {
        "name": agent,
        "role": "developer",
        "home": str(home),
        "workspace": {
            "fullName": f"Agent {agent}",
            "email": f"agent-{agent}@try.invalid",
            "matrixId": f"@agent-{agent}:try.invalid",
            "domain": "try.invalid",
            "operators": [],
        },
        "codingAgent": {
            "branchPrefix": f"agent-{agent}/",
            "maxReviews": 2,
            "maxWallTime": 100,
            "reviews": [list(each) for each in checks],
        },
    }


def make_workspace(place: Path, agent: str, source: Path | None) -> dict[str, str]:
    """Clone a repository, or the example, below a directory; return the template's variables.

    Raises:
        BadInputError: it cannot be cloned. PrerequisiteError: there is no git.
    """
    home, settings, example = place / "home", place / "settings", place / "example"
    repos = home / "agent-space" / ".repos"
    for each in (repos, settings):
        each.mkdir(parents=True)
    if source is None:
        example.mkdir()
        for name, text in EXAMPLE.items():
            (example / name).write_text(text)
        _git(home, example, "init", "--quiet", "--initial-branch=main")
        _git(home, example, "add", "--all")
        _git(home, example, *_PERSON, "commit", "--quiet", "--message=Add a sum, and its test")
    origin = example if source is None else source.resolve()
    _git(home, repos, "clone", "--quiet", "--no-hardlinks", "--", str(origin), NAME)
    checks = (_CHECK,) if source is None else ()
    file = settings / f"{agent}.json"
    file.write_text(json.dumps(settings_document(agent, home, checks), indent=2))
    return {"repository": NAME, "settings": str(settings)}


def _git(home: Path, where: Path, *words: str) -> None:
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
    env["GIT_CONFIG_NOSYSTEM"] = "1"
    git = find_program("git", hint="install git")
    done = run_to_end([git, *words], timeout=_TIME_S, env=env, cwd=where)
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BadInputError(
            f"git {next(w for w in words if w[0] != '-' and '=' not in w)}: {said[-1:] or ''}",
            where=str(where),
            hint="name a git repository with --repository",
        )
