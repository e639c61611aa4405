#!/usr/bin/env python3
"""SIMULATED abra: the one call that the traefik reconciler makes, over the real `docker stack`.

It reads the app's file in $ABRA_DIR, sees that the recipe is a committed checkout, and deploys it
as Co-op Cloud's abra does: the file's variables are interpolated into the compose files. What it
cannot show is that the real abra takes the same arguments and the real recipe.

FAULT in the environment makes it fail: `before` it touches the swarm, or `after`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLAGS = {"--chaos", "--force", "--offline", "--no-input", "--no-domain-checks"}


def main() -> int:
    place = Path(os.environ["ABRA_DIR"])
    app, deploy, domain, *flags = sys.argv[1:]
    assert (app, deploy) == ("app", "deploy"), sys.argv
    assert set(flags) <= FLAGS, flags
    with Path(os.environ["HOME"]).joinpath("../abra-calls").resolve().open("a") as log:
        log.write(" ".join(sys.argv[1:]) + "\n")
    fault = Path(__file__).parent / "fault"
    kind = fault.read_text() if fault.exists() else ""
    if kind == "before":
        sys.stderr.write("FATA cannot reach anything\n")
        return 1
    variables = read(place / "servers" / "default" / f"{domain}.env")
    recipe = place / "recipes" / variables["TYPE"]
    clean = subprocess.run(
        ["git", "-C", str(recipe), "status", "--porcelain"], capture_output=True, check=True
    )
    assert clean.stdout == b"", "locally unstaged changes"
    stack = domain.replace(".", "_")[:45]
    files = [f"--compose-file={recipe / name}" for name in variables["COMPOSE_FILE"].split(":")]
    subprocess.run(
        ["docker", "stack", "deploy", "--resolve-image=never", "--prune", *files, stack],
        env={**os.environ, **variables, "STACK_NAME": stack},
        check=True,
    )
    if kind == "after":
        sys.stderr.write("FATA timed out while waiting\n")
        return 1
    return 0


def read(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and line[0] != "#")
    pairs = (line.partition("=") for line in lines)
    return {key: value.strip('"') for key, _, value in pairs}


sys.exit(main())
