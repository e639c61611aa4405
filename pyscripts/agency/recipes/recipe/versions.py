"""Versions that a recipe publishes as tags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})\+([0-9A-Za-z][0-9A-Za-z._+-]{0,80})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A published version: `X.Y.Z` of the recipe, and the version of what it deploys."""

    recipe: tuple[int, int, int]
    upstream: str

    def __str__(self) -> str:
        return ".".join(map(str, self.recipe)) + f"+{self.upstream}"


def parse_version(tag: str) -> Version | None:
    """Read a tag; None if it publishes no version."""
    match = _TAG.match(tag)
    if match is None:
        return None
    return Version((int(match[1]), int(match[2]), int(match[3])), match[4])


def published(tags: Iterable[str]) -> tuple[Version, ...]:
    """Return the versions among the tags, the latest first."""
    found = {version for tag in tags if (version := parse_version(tag)) is not None}
    return tuple(sorted(found, reverse=True))
