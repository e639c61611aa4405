"""A real Docker Swarm with Traefik and a network for apps, and the bench of recipe CI on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker_engine import Engine, private_engine
from recipe_bench import Bench
from recipe_images import make_nginx_image, make_traefik_image
from recipe_proxy import start_proxy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the Docker Engine belongs to the suite `make test-docker`."""
    for item in items:
        if "swarm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with private_engine(tmp_path_factory.mktemp("docker")) as engine:
        make_nginx_image(engine)
        engine.cli("swarm", "init", "--advertise-addr", "127.0.0.1")
        engine.cli("network", "create", "--driver", "overlay", "--attachable", "proxy")
        # Things of others, which no run may touch.
        engine.cli("volume", "create", "witness")
        engine.cli("secret", "create", "witness", "-", stdin=b"not of a run")
        make_traefik_image(engine)
        start_proxy(engine)
        yield engine


@pytest.fixture
def bench(swarm: Engine, tmp_path) -> Iterator[Bench]:
    bench = Bench(swarm, tmp_path)
    bench.set_up()
    yield bench
    assert swarm.cli("volume", "ls", "-q", "--filter", "name=witness") == "witness"
    assert "witness" in swarm.cli("secret", "ls", "--format", "{{.Name}}")
