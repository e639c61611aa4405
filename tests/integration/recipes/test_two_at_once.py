"""Two runs at a time on one swarm, through one Traefik: neither ends what is the other's.

Each app is held in its install stage, so that both are there for as long as the test looks.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from docker_engine import Engine
from network_of import network_of
from recipe_bench import Bench, on_swarm, override
from recipe_proxy import HTTPS_PORT, ZONE, ca_file
from recipe_queue import config_of, ended, ordered, put, read, wait

from agency.children import processes_with_marker
from agency.recipes.client import AppClient, parse_route
from agency.recipes.record.run import Order

FIRST, SECOND, THIRD = "r00000021", "r00000022", "r00000023"
HOLDS = """
import pathlib, time
def test_the_app_is_held(app):
    place = pathlib.Path({place!r})
    (place / f"held.{{app.domain}}").touch()
    for _ in range(5000):
        if (place / f"go.{{app.domain}}").exists():
            break
        time.sleep(0.1)
    assert f"A site at {{app.domain}}" in app.get("/").text
"""


def domain(run: str) -> str:
    return f"static-site-pr-{int(run[1:])}-{run}.{ZONE}"


class Held:
    """Two runs at a time of the static site, each held until it is let go."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.state = bench.place / "server"
        # Without a port of its own: the two would want the same one.
        (bench.place / "bin" / "override.yml").write_text(override("static-site", port=None))
        test = bench.recipe / "tests" / "test_install.py"
        test.write_text(HOLDS.format(place=str(bench.place)))
        bench.commit("hold the app")
        ca = str(ca_file(bench.engine))
        self.config = config_of(bench, ZONE, through=f"https://127.0.0.1:{HTTPS_PORT}", ca=ca)

    def order(self, run: str) -> Order:
        return ordered(self.bench, int(run[1:]), stages=("install",))

    def wait_held(self, run: str) -> None:
        wait(self.bench, (self.bench.place / f"held.{domain(run)}").exists)

    def let_go(self, run: str) -> None:
        (self.bench.place / f"go.{domain(run)}").touch()

    def ended(self, run: str) -> bool:
        return ended(self.state, run)

    def page(self, run: str) -> str:
        """Ask the app of a run by its name, at the Traefik of both."""
        route = parse_route(f"https://127.0.0.1:{HTTPS_PORT}", ca_file(self.bench.engine))
        return AppClient(domain(run), route).get("/").text

    def things(self, run: str) -> set[str]:
        """Return what the swarm has of a run, with the ids of its containers."""
        stack = domain(run).replace(".", "_")[:45]
        label = f"label=com.docker.stack.namespace={stack}"
        containers = self.bench.engine.cli("ps", "-q", "--no-trunc", "--filter", label).split()
        return {one for one in on_swarm(self.bench.engine) if stack in one} | set(containers)


@pytest.fixture
def held(bench: Bench) -> Held:
    return Held(bench)


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_each_has_its_slot_its_name_and_its_end(swarm: Engine, held: Held) -> None:
    put(held.state, *map(held.order, (FIRST, SECOND, THIRD)))
    with held.bench.serving(held.config):
        held.wait_held(FIRST)
        held.wait_held(SECOND)
        first, second = held.things(FIRST), held.things(SECOND)
        kinds = {one.split()[0] for one in first if " " in one}
        assert kinds == {"service", "volume", "secret", "config", "container"}
        assert {one.split()[0] for one in second if " " in one} == kinds
        assert not first & second
        assert first | second >= set(on_swarm(swarm)), "all is of one of them"
        assert read(held.state, THIRD).state.value == "queued", "there are two slots"
        with network_of(swarm.pid):
            assert f"A site at {domain(FIRST)}" in held.page(FIRST)
            assert f"A site at {domain(SECOND)}" in held.page(SECOND)

        # The second is killed: its janitor, and that at the third's start, leave the first alone.
        for process in processes_with_marker(SECOND):
            with suppress(ProcessLookupError):  # it ended with one of the others
                os.kill(process, signal.SIGKILL)
        wait(held.bench, lambda: held.ended(SECOND))
        assert read(held.state, SECOND).state.value == "error"
        assert held.things(SECOND) == set()
        held.wait_held(THIRD)
        assert held.things(FIRST) == first, "also its containers are the same"

        # A run's own end leaves the other alone, too.
        held.let_go(THIRD)
        wait(held.bench, lambda: held.ended(THIRD))
        assert (read(held.state, THIRD).state.value, held.things(THIRD)) == ("passed", set())
        assert held.things(FIRST) == first
        with network_of(swarm.pid):
            assert f"A site at {domain(FIRST)}" in held.page(FIRST)
        held.let_go(FIRST)
        wait(held.bench, lambda: held.ended(FIRST))
        assert (read(held.state, FIRST).state.value, held.things(FIRST)) == ("passed", set())
    assert on_swarm(swarm) == []
    told = (held.bench.place / "runner.log").read_text()
    assert f"janitor: removed what the dead run {SECOND} left" in told, "it was at work"
    assert not [run for run in (FIRST, THIRD) if f"dead run {run}" in told]
