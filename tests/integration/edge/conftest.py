"""A real nginx: Debian's, installed or unpacked, and the exported edge in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from debian_nginx import Nginx, find_nginx
from running_edge import DOMAIN, Edge, free_port, serving

from agency.spinup.probes import edge as probes
from agency.spinup.targets.incus.parts.edge.certificate import make_certificates


@pytest.fixture(scope="session")
def nginx() -> Nginx:
    return find_nginx()


@pytest.fixture(scope="module")
def edge(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    certificates = make_certificates(DOMAIN, datetime.now(UTC))
    with serving(nginx, tmp_path_factory.mktemp("edge"), certificates) as running:
        yield running


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Edge], None]:
    """Have the probes look at an edge on a port of its own."""

    def look(edge: Edge) -> None:
        monkeypatch.setattr(probes, "_EDGE", ("127.0.0.1", edge.port))
        monkeypatch.setattr(probes, "_PLAIN", ("127.0.0.1", free_port()))

    return look
