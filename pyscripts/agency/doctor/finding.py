"""Findings of the checks, and the subject that they look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agency.clock import Clock
from agency.errors import AgencyError
from agency.instance import LoadedInstance, load_instance


class Level(StrEnum):
    """Weight of a finding; only `bad` makes the exit status 1."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its state, and the remedy if it is not as it should be."""

    level: Level
    subject: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Subject of the checks: an instance (None: there is none here), and a machine by its clock."""

    directory: Path | None
    age_key: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = field(default_factory=Clock)

    def load(self) -> LoadedInstance | None:
        """Load the instance; None if there is none, or a bad one, which its own check tells."""
        if self.directory is None:
            return None
        try:
            return load_instance(self.directory, check_recipients=False)
        except AgencyError:
            return None


@dataclass(frozen=True, slots=True)
class Check:
    """A named look at one thing. It changes nothing, and bounds each wait of its own."""

    name: str
    look: Callable[[Subject], Iterator[Finding]]


def ok(subject: str, message: str) -> Finding:
    """Make a finding of a thing that is as it should be."""
    return Finding(Level.OK, subject, message)


def note(subject: str, message: str, remedy: str = "") -> Finding:
    """Make a finding that a person should know, and that stops nothing."""
    return Finding(Level.NOTE, subject, message, remedy)


def bad(subject: str, message: str, remedy: str) -> Finding:
    """Make a finding that must be mended."""
    return Finding(Level.BAD, subject, message, remedy)
