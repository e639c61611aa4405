"""A real Docker Engine for the tests of what converges one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker_engine import IMAGE, Engine, busybox_rootfs, private_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the Docker Engine belongs to the suite `make test-docker`."""
    for item in items:
        if "_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def _engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with private_engine(tmp_path_factory.mktemp("docker")) as engine:
        engine.cli("import", "-", IMAGE, stdin=busybox_rootfs())
        yield engine


@pytest.fixture
def engine(_engine: Engine) -> Iterator[Engine]:
    """The Docker Engine, in no swarm."""
    _engine.reset()
    yield _engine
    _engine.reset()


@pytest.fixture
def swarm(engine: Engine) -> Engine:
    """The Docker Engine as the manager of a swarm of one."""
    engine.cli("swarm", "init", "--advertise-addr", "127.0.0.1")
    return engine
