"""The conformance suite: `builtin` with real children, Drone and Woodpecker against DOUBLES."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import doubled_engines
import engine_conformance as conformance
import pytest
import yaml
from doubled_engines import REPOSITORY, TOKEN, Doubled
from engine_conformance import Case, run

from agency.children import marked_environment
from agency.recipes.configuration import EngineSettings
from agency.recipes.engine.builtin import BuiltinEngine, Site
from agency.recipes.engine.port import Build, Engine, EngineError, EngineRefusedError
from agency.recipes.engine.remote.api import Api
from agency.recipes.engine.remote.drone import DroneEngine
from agency.recipes.engine.remote.pipeline import FILES, STEP, pipeline
from agency.recipes.engine.remote.woodpecker import WoodpeckerEngine
from agency.secrets import SecretValue

_WAITS = """\
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
while not place.exists():
    time.sleep(0.02)
raise SystemExit(int(place.read_text()))
"""


@dataclass
class OfBuiltin:
    """Case of the builtin engine; its children wait for a file with their exit status."""

    place: Path

    async def engine(self) -> Engine:
        def command(name: str) -> tuple[str, ...]:
            return (sys.executable, "-c", _WAITS, str(self.place / name))

        (self.place / "artifacts").mkdir(exist_ok=True)
        return BuiltinEngine(Site(command, {}, self.place / "artifacts", 10.0, lambda: None))

    async def finish(self, build: Build, good: bool) -> None:
        (self.place / build.id).write_text("0" if good else "1")


@dataclass
class OfDouble:
    """Case of an engine against its double."""

    double: Doubled
    kind: Callable[..., Any]
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    async def engine(self) -> Any:
        self.sessions.append(aiohttp.ClientSession())
        headers = {"Authorization": f"Bearer {TOKEN}"}
        api = Api(self.double.url, headers, self.sessions[-1])
        settings = EngineSettings(url=self.double.url, repository=REPOSITORY)
        return self.kind(api=api, settings=settings, janitor=lambda: None)

    async def finish(self, build: Build, good: bool) -> None:
        number = int(build.id.partition("/")[0])
        self.double.builds[number]["status"] = "success" if good else "failure"


@pytest.fixture
async def drone() -> AsyncIterator[OfDouble]:
    async with doubled_engines.drone() as double:
        case = OfDouble(double, DroneEngine)
        yield case
        await asyncio.gather(*(each.close() for each in case.sessions))


@pytest.fixture
async def woodpecker() -> AsyncIterator[OfDouble]:
    async with doubled_engines.woodpecker() as double:
        case = OfDouble(double, WoodpeckerEngine)
        yield case
        await asyncio.gather(*(each.close() for each in case.sessions))


@pytest.fixture(params=["builtin", "drone", "woodpecker"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "builtin":
        return OfBuiltin(tmp_path)
    found: Case = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["drone", "woodpecker"])
def doubled(request: pytest.FixtureRequest) -> OfDouble:
    found: OfDouble = request.getfixturevalue(request.param)
    return found


async def test_a_build_is_followed_to_its_end(case: Case) -> None:
    await conformance.followed_to_its_end(case)


async def test_a_build_is_found_again(case: Case) -> None:
    await conformance.found_again(case)


async def test_a_build_that_nobody_knows_is_lost(case: Case) -> None:
    await conformance.unknown_is_lost(case)


async def test_a_cancelled_build_ends(case: Case) -> None:
    await conformance.cancelled(case)


@pytest.mark.parametrize("fault", ["500", "429", "garbage", "redirect", "list"])
async def test_an_answer_that_is_none_says_nothing_of_a_build(
    doubled: OfDouble, fault: str
) -> None:
    engine = await doubled.engine()
    build = await engine.start(run(1))
    doubled.double.fault = fault
    for ask in (engine.state(build), engine.start(run(2)), engine.find(run(1))):
        with pytest.raises(EngineError):
            await ask
    doubled.double.fault = ""
    assert not (await engine.state(build)).phase.over


@pytest.mark.parametrize("word", ["passing", "", "SUCCESS", "unheard-of"])
async def test_an_unknown_state_is_no_state(doubled: OfDouble, word: str) -> None:
    engine = await doubled.engine()
    build = await engine.start(run(1))
    doubled.double.builds[1]["status"] = word
    with pytest.raises(EngineError, match="unknown state"):
        await engine.state(build)


async def test_null_is_a_refusal_and_not_a_build(doubled: OfDouble) -> None:
    engine = await doubled.engine()
    doubled.double.fault = "null"
    with pytest.raises(EngineRefusedError) as caught:
        await engine.start(run(1))
    assert "pipeline" in str(caught.value.hint)


async def test_a_dead_engine_is_told(doubled: OfDouble) -> None:
    engine = await doubled.engine()
    doubled.double.url = "http://127.0.0.1:1"
    other = await doubled.engine()
    with pytest.raises(EngineError, match="no answer"):
        await other.state(Build("1/r00000001"))
    assert engine.name in ("drone", "woodpecker")


async def test_a_token_is_in_no_address_and_no_text(doubled: OfDouble) -> None:
    engine = await doubled.engine()
    await engine.start(run(1))
    assert TOKEN not in repr(engine)
    assert not any(TOKEN in each for each in doubled.double.asked)


async def test_secrets_of_pipelines_are_kept_by_the_engine_and_changed(doubled: OfDouble) -> None:
    engine = await doubled.engine()
    for value in ("first-value", "second-value"):
        await engine.put_secret("registry-token", SecretValue(value))
    kept = doubled.double.secrets["registry-token"]
    assert kept.get("data", kept.get("value")) == "second-value"
    assert kept.get("pull_request", False) is False
    assert kept.get("events", ["manual"]) == ["manual"]


async def test_a_run_whose_program_is_here_is_asked_to_end_and_not_what_it_started(
    doubled: OfDouble, tmp_path: Path
) -> None:
    """Engines kill a step without asking: a run could not tear its app down."""
    engine = await doubled.engine()
    build = await engine.start(run(1))
    env = {**os.environ, **marked_environment("r00000001")}
    inner = (sys.executable, "-c", "import time; time.sleep(60)")
    leader = subprocess.Popen(  # noqa: ASYNC220 - a program of the test
        [sys.executable, "-c", _LEADER, str(tmp_path / "told"), *inner], env=env
    )
    try:
        while not (tmp_path / "told").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
        await engine.cancel(build)
        assert await asyncio.to_thread(leader.wait, 10) == 7
        assert (tmp_path / "told").read_text() == "the child lives"
        assert doubled.double.builds[1]["status"] == "pending", "the engine was not asked"
    finally:
        leader.kill()
        leader.wait()
        await engine.clean(run(1))


_LEADER = """\
import pathlib, signal, subprocess, sys, time
told = pathlib.Path(sys.argv[1])
child = subprocess.Popen(sys.argv[2:], start_new_session=True)
def end(*_):
    time.sleep(0.3)
    told.write_text("the child lives" if child.poll() is None else "the child was ended, too")
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
told.write_text("")
time.sleep(60)
"""


@pytest.mark.parametrize("engine", FILES)
def test_a_pipeline_has_one_step_and_no_secret(engine: str) -> None:
    text = pipeline(engine, 2, 60)
    assert text.count(STEP) == 1
    assert "secret" not in text
    # An engine puts what `${...}` names into the text itself, where anything could be in it.
    assert "${A" not in text
    assert yaml.safe_load(text)
