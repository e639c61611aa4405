"""A registry that demands a log-in: Debian's docker-registry, in the network of the engine."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
from debian_programs import program
from docker_engine import Engine

HOST = "127.0.0.1:5055"  # Docker asks a loopback address without TLS
USER = "puller"
_CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {place}/images}}}}
http: {{addr: {host}}}
auth: {{htpasswd: {{realm: test, path: {place}/htpasswd}}}}
"""


@contextmanager
def registry(engine: Engine, place: Path, password: str) -> Iterator[None]:
    place.mkdir()
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (place / "htpasswd").write_text(f"{USER}:{digest}\n")
    (place / "registry.yml").write_text(_CONFIG.format(place=place, host=HOST))
    inside = ["nsenter", f"--net=/proc/{engine.pid}/ns/net", "--"]
    served = [program("docker-registry", "docker-registry"), "serve", str(place / "registry.yml")]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([*inside, *served], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        ask = [*inside, "busybox", "nc", "-w", "1", *HOST.split(":")]
        while subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, (place / "log").read_text()
            assert process.poll() is None, (place / "log").read_text()
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def log_in(place: Path, password: str) -> Path:
    """Write a configuration of Docker, as `docker login` does; return its file."""
    place.mkdir(exist_ok=True)
    pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
    file = place / "config.json"
    file.write_text(json.dumps({"auths": {HOST: {"auth": pair}}}))
    return file


def publish(engine: Engine, image: str, config: Path) -> str:
    """Push an image of the engine, and remove it there; return its name at the registry."""
    name = f"{HOST}/{image}"
    engine.cli("tag", image, name)
    done = subprocess.run(
        ["docker", "--host", engine.url, "--config", str(config.parent), "push", name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    engine.cli("image", "rm", name)
    return name
