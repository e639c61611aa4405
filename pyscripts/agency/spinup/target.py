"""Interface of a spin-up target: one coroutine of named steps, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from agency.instance import LoadedInstance
from agency.quarantine import Quarantine
from agency.rundir import RunDirectory
from agency.secrets import SecretProvider
from agency.spinup.examination import Examination
from agency.spinup.probes import host as host_probes
from agency.spinup.run import Run


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line; `timeout_s` bounds the steps, stopping has its own limit."""

    target: str
    output: Path
    instance: Path
    ports: Mapping[str, int]
    age_key: Path | None
    timeout_s: float
    fail_fast: bool = False
    challenge: str | None = None
    profile: tuple[str, ...] = ()  # parts beside what every run examines

    @property
    def public_key(self) -> Path:
        """Path of the public key, beside the transcript."""
        return self.output.with_suffix(".pub")


@dataclass(frozen=True, slots=True)
class Setting:
    """Materials of one run, complete before the first step."""

    options: Options
    network: Quarantine
    loaded: LoadedInstance
    directory: RunDirectory
    secrets: SecretProvider
    session: aiohttp.ClientSession


class Target(Protocol):
    """A place where an agency is spun up or looked at."""

    async def spin_up(self, run: Run) -> None:
        """Take the target's steps in order; what is to be ended goes to `run.held`."""


Opener = Callable[[Setting], AbstractAsyncContextManager[Target]]


def hold_setting(run: Run, setting: Setting) -> None:
    """Have the teardown forget secrets, remove files, and look whether anything is left."""
    directory = setting.directory

    async def look() -> None:
        await run.look(
            "teardown.clean",
            lambda: host_probes.teardown(directory.run, run.ports, directory.path),
        )

    run.held.push(look)
    run.held.push(directory.remove)
    run.held.push(setting.secrets.close)


def hold_secrets(run: Run, examination: Examination) -> None:
    """Have the teardown note what must not be in the transcript; an agency that keeps silent fails.

    It comes before what is held already: the agency is asked while it runs.
    """

    async def learn() -> None:
        run.known_secrets += examination.known_secrets()
        run.known_secrets += await examination.all_secrets()

    run.held.push(learn)
