"""Images for the further recipes: real programs of Debian, PyPI and Go, made where they are run.

What PyPI's packages are is pinned with checksums beside each recipe (images/*.txt).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import build_cache
import pytest
from debian_programs import CACHE, unpack
from docker_engine import REQUIRE, Engine
from oauth2_proxy import BUILD as PROXY_BUILD
from recipe_rootfs import Rootfs, python
from s3_server import BUILD as S3_BUILD

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
_POSTGRES = ("postgres", "initdb", "pg_dump", "psql", "createdb", "pg_isready", "pg_ctl")
_REDIS = ("redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-bitop", "lua-cjson",
          "libhiredis0.14", "libatomic1")  # fmt: skip


def _lacking(reason: str) -> None:
    if os.environ.get(REQUIRE):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pypi(name: str) -> Path:
    """Packages of a list of pins, unpacked and compiled into the cache once.

    Without the compiled files each start of a container would compile them again.
    """
    pins = RECIPES / name
    told = pins.read_bytes() + sys.version.encode()
    place = CACHE / f"pypi-compiled-{pins.stem}-{hashlib.sha256(told).hexdigest()[:16]}"
    if place.is_dir():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        made = Path(directory) / "made"
        options = [
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
        ]
        argv = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            f"--target={made}",
            "-r",
            str(pins),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            _lacking(f"PyPI's packages of {name} are not to be had: {done.stderr[-300:]}")
        try:
            made.rename(place)
        except OSError:
            assert place.is_dir()  # another worker was faster
    return place


def _with_python(pins: str) -> bytes:
    root = Rootfs()
    python(root)
    root.tree("app", pypi(pins))
    return root.finish()


def postgres() -> bytes:
    """Debian's PostgreSQL; it runs as the user 70."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not places:
        _lacking("there is no PostgreSQL (Debian: postgresql)")
    home = places[-1].parents[1]
    version = home.name
    root = Rootfs()
    for name in _POSTGRES:
        root.program(f"usr/lib/postgresql/{version}/bin/{name}", home / "bin" / name)
    root.tree(f"usr/lib/postgresql/{version}/lib", home / "lib", {"bitcode", "pgxs", "llvmjit.so"})
    root.tree(
        f"usr/share/postgresql/{version}",
        Path("/usr/share/postgresql") / version,
        {"man", "extension.bak"},
    )
    root.text(
        "usr/bin/pg",
        f'#!/bin/sh\np=$1; shift\nexec /usr/lib/postgresql/{version}/bin/"$p" "$@"\n',
        0o755,
    )
    root.directory("var/lib/postgresql/data", mode=0o700, owner=70)
    root.directory("var/run/postgresql", owner=70)
    return root.finish()


def redis() -> bytes:
    """Debian's Redis."""
    place = CACHE / "redis"
    if not place.is_dir() and (reason := unpack(place, "redis-server", *_REDIS)):
        _lacking(f"Redis is not to be had: {reason}")
    libraries = place / "usr/lib" / f"{os.uname().machine}-linux-gnu"
    root = Rootfs()
    root.libraries_in(libraries, *libraries.glob("*/"))
    root.program("usr/bin/redis-server", place / "usr/bin/redis-check-rdb")
    root.program("usr/bin/redis-cli", place / "usr/bin/redis-cli")
    root.directory("data")
    return root.finish()


def built(build: build_cache.Build, *directories: str) -> bytes:
    """A program of a Go module, out of the cache."""
    program = build_cache.find(build, build_cache.cache_directory())
    if program is None:
        _lacking(f"{build.name} is not built: `make test-recipes` builds it")
    root = Rootfs()
    root.program(f"usr/bin/{build.name}", Path(str(program)))
    for name in directories:
        root.directory(name)
    return root.finish()


IMAGES: dict[str, Callable[[], bytes]] = {
    "agency-test/postgres:15": postgres,
    "agency-test/kinto:26.5": lambda: _with_python("records/images/kinto.txt"),
    "agency-test/redis:7": redis,
    "agency-test/celery:5.7": lambda: _with_python("task-queue/images/celery.txt"),
    "agency-test/versitygw:1.8": lambda: built(S3_BUILD, "data"),
    "agency-test/oauth2-proxy:7.15": lambda: built(PROXY_BUILD),
    "agency-test/canaille:0.3": lambda: _with_python("single-sign-on/images/canaille.txt"),
}


# The recipes of further kinds, and the images that each needs beside nginx.
KINDS = {
    "records": ("agency-test/kinto:26.5", "agency-test/postgres:15"),
    "task-queue": ("agency-test/celery:5.7", "agency-test/redis:7"),
    "object-store": ("agency-test/versitygw:1.8",),
    "single-sign-on": ("agency-test/canaille:0.3", "agency-test/oauth2-proxy:7.15"),
}


def make_image(engine: Engine, name: str) -> None:
    """Give the engine an image, unless it has it."""
    if name not in engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        engine.cli("import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "-", name,
                   stdin=IMAGES[name]())  # fmt: skip
