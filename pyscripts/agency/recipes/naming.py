"""Names of an app under test: its domain, and what the swarm calls it.

The domain's first label carries the recipe, the pull request and the run. It must be a DNS label,
and since abra cuts the name of a stack, the run's part must stand before the cut.
"""

from __future__ import annotations

import re

from agency.errors import UsageError

RUN_LENGTH = 9  # of "r" and eight base 32 digits
MAX_LABEL = 40  # below abra's cut of a stack's name (45), and below DNS's limit (63)
_RUN = re.compile(r"r[0-9a-hjkmnp-tv-z]{8}\Z")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ZONE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"
)
_MAX_DOMAIN = 253
_MAX_PULL_REQUEST = 10**10 - 1


def run_id(entropy: bytes) -> str:
    """Make a run's id of five random bytes."""
    if len(entropy) != 5:
        raise ValueError("five bytes make a run's id")
    number = int.from_bytes(entropy)
    return "r" + "".join(_ALPHABET[number >> shift & 31] for shift in range(35, -5, -5))


def is_run_id(text: str) -> bool:
    """Return whether this is the form of a run's id."""
    return _RUN.match(text) is not None


def app_domain(recipe: str, pull_request: int | None, run: str, zone: str) -> str:
    """Return the domain of a run's app: `<recipe>-pr-<n>-<run>.<zone>`, or `-try-` without a PR.

    A long recipe name is cut; the run keeps two apps apart.

    Raises:
        UsageError: the zone is no domain.
    """
    if not is_run_id(run):
        raise ValueError(f"not a run's id: {run!r}")
    if pull_request is not None and not 0 < pull_request <= _MAX_PULL_REQUEST:
        raise ValueError(f"not the number of a pull request: {pull_request}")
    if not _ZONE.match(zone) or len(zone) > _MAX_DOMAIN - MAX_LABEL - 1:
        raise UsageError(
            f"{zone[:80]!r} is not a domain", where="--zone", hint="such as ci.example.org"
        )
    tail = f"-try-{run}" if pull_request is None else f"-pr-{pull_request}-{run}"
    head = re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-") or "app"
    return f"{head[: MAX_LABEL - len(tail)].rstrip('-')}{tail}.{zone}"
