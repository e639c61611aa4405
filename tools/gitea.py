"""Gitea for `make test-forge`, built from its Go module into the per-user cache.

`go install` refuses the module, because its go.mod replaces others, so a copy of it is built as the
main module. Templates and translations are built in; the pages' scripts and styles are not in the
module, and the tests need none. Standard library only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import build_cache
from debian_packages import fail, run
from setup import TOOLS

MODULE = "code.gitea.io/gitea"
VERSION = "v1.26.0"
# Checksum of the files, as in Go's checksum database; the go.sum among them pins the rest.
SUM = "h1:fJP9dqLbzKrKWUVnCVTfVersZdVDuyJQLEDzCAOmKKA="
BUILD = build_cache.Build("gitea", VERSION, "6 to 20 minutes", "test-forge")
GO = (1, 26)
EMBEDDED = ("options", "templates", "public", "migration")
TAGS = "bindata sqlite sqlite_unlock_notify"


def output_of(*argv: str) -> str:
    """Return what a program prints; exit if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode != 0:
        fail(f"`{' '.join(argv[:3])} ...` failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def find_go(program: str = "Gitea") -> str:
    """Return a Go that builds the program's version; Debian has none that is new enough."""
    found = shutil.which("go")
    said = output_of(found, "env", "GOVERSION") if found else ""
    parts = said.strip().removeprefix("go").split(".")[:2]
    if found is None or tuple(int(part) for part in parts if part.isdecimal()) < GO:
        fail(f"building {program} takes Go {GO[0]}.{GO[1]} or newer: install that (https://go.dev)")
    return found


def fetch_source(go: str, place: Path) -> Path:
    """Copy the module's files, whose checksum is the one above, into a directory."""
    told = json.loads(output_of(go, "mod", "download", "-json", f"{MODULE}@{VERSION}"))
    if told["Sum"] != SUM:
        fail(f"{MODULE} {VERSION} has the checksum {told['Sum']}, not {SUM}")
    source = place / "source"
    shutil.copytree(told["Dir"], source)
    for path in (source, *source.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)  # Go keeps its cache read-only
    return source


def build(place: Path) -> None:
    """Build Gitea into a directory."""
    go = find_go()
    if shutil.which("cc") is None:
        fail("building Gitea takes a C compiler, for SQLite: apt-get install gcc libc6-dev")
    source = fetch_source(go, place)
    settings = {"CGO_ENABLED": "1", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    packages = [f"./modules/{name}" for name in EMBEDDED]
    run(go, "-C", str(source), "generate", "-tags", "bindata", *packages, env=settings)
    linking = f"-s -w -X main.Version={VERSION.removeprefix('v')}"
    argv = ("-tags", TAGS, "-ldflags", linking, "-o", str(place / BUILD.name), ".")
    run(go, "-C", str(source), "build", *argv, env=settings)
    shutil.rmtree(source)


def main() -> None:
    """Put Gitea into .tools/bin."""
    program = TOOLS / "bin" / BUILD.name
    if not program.exists():
        build_cache.take(BUILD, program, build)


if __name__ == "__main__":
    main()
