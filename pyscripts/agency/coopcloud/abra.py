"""abra, Co-op Cloud's command line: each call in a directory of its own.

abra keeps its state below $ABRA_DIR: `servers/<server>/<domain>.env` says how an app is
configured, `recipes/<recipe>` is a git checkout of the recipe, `catalogue` an index that is not
needed offline. Every run gets a fresh $ABRA_DIR, because a deployment changes the checkout in it.

abra's output is for people, and abra can fail after it has changed the swarm. So callers use only
its exit status, and read the new state from the swarm.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agency.coopcloud.recipe import Recipe, stack_name
from agency.programs import find_program, run_program

SERVER = "default"  # abra's name for the Docker Engine of this machine
_IDENTITY = ("-c", "user.name=agency", "-c", "user.email=agency@localhost")
_GIT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Abra:
    """abra by its absolute path; `docker_url` is None for the machine's usual Docker Engine."""

    program: str
    git: str
    docker_url: str | None
    timeout_s: float

    def deploy(self, domain: str, environment: str, recipe: Recipe) -> None:
        """Deploy `recipe` at `domain`, or deploy it again; return when abra saw it converge.

        `--chaos` takes the checkout as it is: the instance pins it, not a release tag.
        `--force` also deploys an app that is deployed already.

        Raises:
            ProgramError: abra failed or took too long. The swarm may have changed anyway.
        """
        with self._directory(domain, environment, recipe) as place:
            run_program(
                [
                    self.program,
                    "app",
                    "deploy",
                    domain,
                    "--chaos",
                    "--force",
                    "--offline",
                    "--no-input",
                    "--no-domain-checks",
                ],
                timeout=self.timeout_s,
                env=abra_environment(place, self.docker_url),
                cwd=place,
                hint=f"see the tasks: docker stack ps --no-trunc {stack_name(domain)}",
            )

    @contextmanager
    def _directory(self, domain: str, environment: str, recipe: Recipe) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="agency-abra-") as text:
            place = Path(text)
            server = place / "abra" / "servers" / SERVER
            server.mkdir(parents=True)
            (place / "abra" / "catalogue").mkdir()
            (server / f"{domain}.env").write_text(environment)
            self._check_out(recipe, place / "abra" / "recipes" / recipe.name)
            yield place

    def _check_out(self, recipe: Recipe, target: Path) -> None:
        """Copy the recipe and make a git repository of it, which abra requires."""
        shutil.copytree(recipe.source, target, ignore=shutil.ignore_patterns(".git"))
        for path in [target, *target.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)  # the Nix store's files are read-only
        for arguments in (
            ["init", "--quiet", "--initial-branch=main", "--template="],
            ["add", "--all", "--force"],
            [*_IDENTITY, "commit", "--quiet", "--message=The pinned recipe"],
        ):
            run_program(
                [self.git, "-C", str(target), *arguments],
                timeout=_GIT_TIMEOUT_S,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_CONFIG_GLOBAL": os.devnull,
                },
            )


def abra_environment(place: Path, docker_url: str | None) -> dict[str, str]:
    """Return the whole environment of an abra whose state is below `place`."""
    environment = {
        "ABRA_DIR": str(place / "abra"),
        "HOME": str(place),
        "PATH": os.environ.get("PATH", os.defpath),
        "NO_COLOR": "1",
    }
    if docker_url is not None:
        environment["DOCKER_HOST"] = docker_url
    return environment


def find_abra(docker_url: str | None, *, timeout_s: float) -> Abra:
    """Find abra and git on PATH.

    Raises:
        PrerequisiteError: one of them is missing.
    """
    return Abra(
        program=find_program("abra", hint="add the pinned abra to the unit's path"),
        git=find_program("git", hint="add git to the unit's path: abra's recipes are repositories"),
        docker_url=docker_url,
        timeout_s=timeout_s,
    )
