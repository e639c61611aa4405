"""A Docker Swarm with Traefik and a network for apps, and with things that are of no run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker_engine import Engine, private_engine
from recipe_images import make_nginx_image, make_traefik_image
from recipe_proxy import start_proxy


@contextmanager
def recipe_swarm(place: Path) -> Iterator[Engine]:
    """Run it below a directory; skip or fail the test where none can run."""
    with private_engine(place) as engine:
        make_nginx_image(engine)
        engine.cli("swarm", "init", "--advertise-addr", "127.0.0.1")
        engine.cli("network", "create", "--driver", "overlay", "--attachable", "proxy")
        # Things of others, which no run may touch.
        engine.cli("volume", "create", "witness")
        engine.cli("secret", "create", "witness", "-", stdin=b"not of a run")
        make_traefik_image(engine)
        start_proxy(engine)
        yield engine
