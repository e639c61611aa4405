"""What a target is to the spin-up: steps to run, and a little to say about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from agency.instance.load import LoadedInstance
from agency.quarantine import Quarantine
from agency.rundir import RunDirectory
from agency.secrets.providers import SecretProvider
from agency.secrets.values import SecretValue
from agency.spinup.execute import Step

Digests = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; `timeout_s` bounds the steps, stopping has its own."""

    target: str
    output: Path
    instance: Path
    ports: Mapping[str, int]
    age_key: Path | None
    timeout_s: float
    fail_fast: bool = False

    @property
    def public_key(self) -> Path:
        """Where the public key goes: beside the transcript."""
        return self.output.with_suffix(".pub")


@dataclass(frozen=True, slots=True)
class Setting:
    """What one run is made from, all of it there before the first step."""

    options: Options
    network: Quarantine
    loaded: LoadedInstance
    directory: RunDirectory
    secrets: SecretProvider
    session: aiohttp.ClientSession


class Target(Protocol):
    """One spin-up under way; what it says of itself is asked after it was stopped."""

    @property
    def known_secrets(self) -> Sequence[SecretValue]:
        """Every secret that must not be in the transcript."""

    @property
    def network(self) -> Quarantine:
        """How what was spun up stood to the network."""

    def subjects(self) -> Mapping[str, Digests]:
        """What the transcript is about beside source and instance, by digest."""

    def steps(self) -> tuple[Step, ...]:
        """The steps, in order; each may rely on those before it."""

    async def guard(self) -> None:
        """Return never; raise as soon as something ends that should run."""

    async def stop(self) -> None:
        """End what runs and remove what was made; records itself as a step."""
