"""Versity's S3 gateway for `make test-s3`, built from its Go module into the per-user cache.

It is a server of S3 (Apache-2.0) that keeps objects as files, with users, signatures, TLS and
policies of buckets. Standard library only.
"""

from __future__ import annotations

import json
from pathlib import Path

import build_cache
from debian_packages import fail, run
from gitea import find_go, output_of
from setup import TOOLS

MODULE = "github.com/versity/versitygw"
VERSION = "v1.8.0"
# Checksum of the files, as in Go's checksum database; the go.sum among them pins the rest.
SUM = "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc="
BUILD = build_cache.Build("versitygw", VERSION, "2 to 5 minutes", "test-s3")


def build(place: Path) -> None:
    """Build the server into a directory."""
    go = find_go("Versity's S3 gateway")
    told = json.loads(output_of(go, "mod", "download", "-json", f"{MODULE}@{VERSION}"))
    if told["Sum"] != SUM:
        fail(f"{MODULE} {VERSION} has the checksum {told['Sum']}, not {SUM}")
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOBIN": str(place)}
    command = f"{MODULE}/cmd/versitygw@{VERSION}"
    run(go, "install", "-trimpath", "-ldflags", "-s -w", command, env=settings)


def main() -> None:
    """Put the server into .tools/bin."""
    program = TOOLS / "bin" / BUILD.name
    if not program.exists():
        build_cache.take(BUILD, program, build)


if __name__ == "__main__":
    main()
