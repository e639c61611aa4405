"""A real Docker Swarm with Traefik and a network for apps, and the bench of recipe CI on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import running_gitea
from docker_engine import Engine
from network_of import network_of
from recipe_bench import Bench
from recipe_swarm import recipe_swarm
from running_gitea import Gitea


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the Docker Engine belongs to the suite `make test-docker`."""
    for item in items:
        if "swarm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with recipe_swarm(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture(scope="module")
def gitea(swarm: Engine) -> Iterator[Gitea]:
    """A real Gitea in the network of the swarm, for the tests of a module."""
    if not running_gitea.PROGRAM.exists():
        if os.environ.get("AGENCY_REQUIRE_FORGE"):
            pytest.fail("Gitea is not built: python tools/gitea.py")
        pytest.skip("Gitea is not built: make test-recipes-way builds it")
    with ExitStack() as stack:
        with network_of(swarm.pid):
            made = stack.enter_context(running_gitea.running())
        yield made


@pytest.fixture
def bench(swarm: Engine, tmp_path) -> Iterator[Bench]:
    bench = Bench(swarm, tmp_path)
    bench.set_up()
    yield bench
    assert swarm.cli("volume", "ls", "-q", "--filter", "name=witness") == "witness"
    assert "witness" in swarm.cli("secret", "ls", "--format", "{{.Name}}")
