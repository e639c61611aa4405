"""The secrets of a pipeline, by the interfaces of Drone and Woodpecker: DOUBLES."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import doubled_engines
import pytest
from doubled_engines import REPOSITORY, TOKEN, Doubled
from pipeline_secrets_desk import Desk

from agency.errors import AgencyError, BadInputError
from agency.reconcile.engine.engine import Outcome


@pytest.fixture(params=["drone", "woodpecker"])
async def double(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Doubled]:
    async with getattr(doubled_engines, request.param)() as double:
        Desk(tmp_path).set_up(request.param, double.url, REPOSITORY, TOKEN)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
        yield double


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def value_of(double: Doubled, name: str) -> str:
    found = double.secrets[name]
    return str(found.get("value", found.get("data")))


def writes(double: Doubled) -> list[str]:
    return [one for one in double.asked if not one.startswith("GET")]


async def test_a_secret_is_put_once_and_again_when_its_value_changes(
    double: Doubled, desk: Desk
) -> None:
    desk.put("registry-login", "first-value")
    report = await desk.converge(REGISTRY="registry-login")
    assert report.outcome is Outcome.CHANGED, report
    assert value_of(double, "REGISTRY") == "first-value"
    (mark,) = (name for name in double.secrets if name != "REGISTRY")
    assert "first" not in str(double.secrets[mark])

    double.asked.clear()
    assert (await desk.converge(REGISTRY="registry-login")).outcome is Outcome.UNCHANGED
    assert writes(double) == []

    desk.put("registry-login", "second-value")
    drift = await desk.converge(check=True, REGISTRY="registry-login")
    assert drift.pending[0].before == "another value"
    assert writes(double) == []
    assert (await desk.converge(REGISTRY="registry-login")).outcome is Outcome.CHANGED
    assert value_of(double, "REGISTRY") == "second-value"
    assert mark not in double.secrets
    assert len(double.secrets) == 2


async def test_a_value_that_was_put_half_is_put_again_also_when_it_is_the_former(
    double: Doubled, desk: Desk
) -> None:
    """Ended between the value and its mark, then put back to what it was before."""
    desk.put("login", "first-value")
    await desk.converge(REGISTRY="login")
    desk.put("login", "second-value")
    double.fault = "marks"
    assert (await desk.converge(REGISTRY="login")).outcome is Outcome.FAILED
    assert value_of(double, "REGISTRY") == "second-value"

    double.fault = ""
    desk.put("login", "first-value")
    assert (await desk.converge(REGISTRY="login")).outcome is Outcome.CHANGED
    assert value_of(double, "REGISTRY") == "first-value"
    assert (await desk.converge(REGISTRY="login")).outcome is Outcome.UNCHANGED


async def test_marks_of_two_values_say_nothing(double: Doubled, desk: Desk) -> None:
    """So a program that left the former mark for later may have left them."""
    desk.put("login", "first-value")
    await desk.converge(REGISTRY="login")
    former = {name: dict(found) for name, found in double.secrets.items() if "_AT_" in name}
    desk.put("login", "second-value")
    await desk.converge(REGISTRY="login")
    double.secrets |= former
    desk.put("login", "first-value")
    assert (await desk.converge(REGISTRY="login")).outcome is Outcome.CHANGED
    assert value_of(double, "REGISTRY") == "first-value"
    assert len(double.secrets) == 2


async def test_what_is_gone_is_put_back_and_what_is_not_declared_any_more_removed(
    double: Doubled, desk: Desk
) -> None:
    desk.put("one", "value-one")
    desk.put("two", "value-two")
    double.secrets["OF_A_PERSON"] = {"name": "OF_A_PERSON", "data": "theirs"}
    await desk.converge(ONE="one", TWO="two")
    del double.secrets["ONE"]
    assert (await desk.converge(ONE="one", TWO="two")).outcome is Outcome.CHANGED
    assert value_of(double, "ONE") == "value-one"
    assert (await desk.converge(ONE="one")).outcome is Outcome.CHANGED
    assert {"OF_A_PERSON", "ONE"} < set(double.secrets)
    assert [name for name in double.secrets if name.startswith("TWO")] == []
    assert len(double.secrets) == 3


async def test_more_secrets_than_one_page_are_all_seen(double: Doubled, desk: Desk) -> None:
    desk.put("one", "value-one")
    await desk.converge(ONE="one")
    for number in range(120):
        double.secrets[f"A{number}"] = {"name": f"A{number}", "data": "theirs"}
    double.asked.clear()
    assert (await desk.converge(ONE="one")).outcome is Outcome.UNCHANGED
    assert writes(double) == []


@pytest.mark.parametrize("fault", ["500", "garbage", "list"])
async def test_an_answer_that_is_none_writes_nothing_and_tells_nothing(
    double: Doubled, desk: Desk, fault: str
) -> None:
    desk.put("one", "value-one-which-is-secret")
    double.fault = fault
    with pytest.raises(AgencyError) as caught:
        await desk.converge(ONE="one")
    assert writes(double) == []
    assert "value-one" not in f"{caught.value}{caught.value.hint}{caught.value.where}"
    assert TOKEN not in f"{caught.value}{caught.value.hint}{caught.value.where}"


async def test_an_engine_without_a_pipeline_is_refused(double: Doubled, desk: Desk) -> None:
    file = desk.place / "recipes.json"
    text = file.read_text()
    file.write_text(text[: text.index(', "engineAt"')] + "}")
    with pytest.raises(BadInputError, match="no pipeline"):
        await desk.converge()
    assert double.asked == []
