"""Mutation testing: sets, samples and scores. mutmut itself runs in one small project, for real."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import mutation
import pytest
from mutation import FIRST, MutationSet, configuration, drawn, next_number, read_sets, score

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETS = read_sets((ROOT / "tools" / "mutation.toml").read_text())


def test_the_sets_have_their_least_scores() -> None:
    assert {name: each.least for name, each in SETS.items()} == {
        "grammar": 0.85,
        "approvals": 0.85,
        "gosuto": 0.85,
        "service": 0.80,
        "agents": 0.80,
        "gateway": 0.85,
    }


@pytest.mark.parametrize("chosen", SETS.values(), ids=list(SETS))
def test_a_set_that_is_here_has_its_tests(chosen: MutationSet) -> None:
    if not mutation.is_here(chosen):
        assert chosen.name == "gosuto"
        return
    assert [each for each in chosen.tests if not (ROOT / each).exists()] == []
    for pattern in (*chosen.mutate, *chosen.leave):
        assert list((ROOT / "pyscripts").glob(pattern)), pattern


def test_the_settings_are_toml_that_names_what_is_mutated() -> None:
    text = configuration(SETS["service"], PROJECT)
    tool = tomllib.loads(text)["tool"]
    assert "src/agency/control/operations/*" in tool["mutmut"]["only_mutate"]
    assert tool["mutmut"]["do_not_mutate"] == ["src/agency/control/operations/approving/*"]
    assert tool["pytest"]["ini_options"]["asyncio_mode"] == "auto"
    assert tool["pytest"]["ini_options"]["timeout"] == mutation.HUNG_S


def test_a_score_counts_survivors_and_what_no_test_reaches() -> None:
    found = score({"a": 1, "b": 0, "c": 33, "d": 36, "e": None, "f": 1, "g": 2})
    assert (found.total, found.run) == (7, 5)
    assert found.survivors == ("b", "c")
    assert found.share == pytest.approx(0.6)


def test_nothing_run_is_no_score() -> None:
    assert score({"a": None}).share == 0


def test_a_seed_draws_the_same_sample() -> None:
    names = [f"m{number}" for number in range(200)]
    assert drawn(names, 7) == drawn(reversed(names), 7)
    assert drawn(names, 7) != drawn(names, 8)
    assert sorted(drawn(names, 7)) == sorted(names)


@pytest.mark.parametrize(
    ("run", "took_s", "left_s", "number"),
    [
        (0, 0.0, 600.0, FIRST),
        (30, 60.0, 600.0, 240),
        (30, 60.0, 20.0, 0),
        (30, 600.0, 100.0, 0),
        (30, 60.0, -5.0, 0),
    ],
)
def test_as_many_as_fit_into_the_time(run: int, took_s: float, left_s: float, number: int) -> None:
    assert next_number(run, took_s, left_s) == number


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MutationSet:
    """A project of one module, whose tests notice one thing of two."""
    module = tmp_path / "pyscripts" / "agency" / "sums"
    module.mkdir(parents=True)
    (module.parent / "__init__.py").write_text("")
    (module / "__init__.py").write_text("")
    (module / "adding.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef untested(a, b):\n    return a * b\n"
    )
    for part in ("tests/support", "tests/unit", "tools", "docs"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_adding.py").write_text(
        "from agency.sums.adding import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "PLACE", tmp_path / "artifacts" / "mutation")
    return MutationSet("sums", 0.9, ("agency/sums/*",), ("tests/unit",))


def test_the_real_mutmut_tells_what_tests_notice(project: MutationSet, capfd: Any) -> None:
    found = mutation.test_set(project, None, 1, 1)
    capfd.readouterr()
    assert found.run == found.total >= 2
    assert all("untested" in name for name in found.survivors)
    assert 0 < found.share < 0.9
    line = mutation.report(project, found)
    assert line.endswith("MISSED")
    listed = (mutation.PLACE / "sums.txt").read_text()
    assert "untested" in listed
    assert "-    return a * b" in listed
