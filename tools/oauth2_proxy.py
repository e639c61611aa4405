"""OAuth2 Proxy for `make test-recipes`, built from its Go module into the per-user cache.

It is a proxy before apps that lets in who has logged in at an OpenID provider (MIT). Standard
library only.
"""

from __future__ import annotations

import json
from pathlib import Path

import build_cache
from debian_packages import fail, run
from gitea import find_go, output_of
from setup import TOOLS

MODULE = "github.com/oauth2-proxy/oauth2-proxy/v7"
VERSION = "v7.15.6"
# Checksum of the files, as in Go's checksum database; the go.sum among them pins the rest.
SUM = "h1:4xZOFvyGysSUxdrEVyLjo+NduqGHbGV9bLE8XD49IJM="
BUILD = build_cache.Build("oauth2-proxy", VERSION, "1 to 5 minutes", "test-recipes")


def build(place: Path) -> None:
    """Build the proxy into a directory."""
    go = find_go("OAuth2 Proxy")
    told = json.loads(output_of(go, "mod", "download", "-json", f"{MODULE}@{VERSION}"))
    if told["Sum"] != SUM:
        fail(f"{MODULE} {VERSION} has the checksum {told['Sum']}, not {SUM}")
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOBIN": str(place)}
    run(go, "install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}@{VERSION}", env=settings)


def main() -> None:
    """Put the proxy into .tools/bin."""
    program = TOOLS / "bin" / BUILD.name
    if not program.exists():
        build_cache.take(BUILD, program, build)


if __name__ == "__main__":
    main()
