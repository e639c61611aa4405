"""Demands of a verifier on which run a transcript is of, when it was, and whose key signed it.

Without them a transcript of another day, another target or another key of the same user passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agency.errors import UsageError
from agency.transcript.versions import Predicate

_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])\Z")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
# Clocks of two machines differ; a transcript from further in the future is of no known age.
_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Demands:
    """Demands on run, time, challenge and key; None demands nothing.

    `not_before` and `oldest` are moments: a run must have begun at the first or later, and have
    finished at the second or later; `now` bounds the latter from above.
    """

    target: str | None = None
    run: str | None = None
    not_before: datetime | None = None
    oldest: datetime | None = None
    now: datetime | None = None
    challenge: str | None = None
    key_sha256: str | None = None

    def unmet(self, predicate: Predicate, key_sha256: str) -> Iterator[str]:
        """Yield the demands that a transcript does not meet, with what it has instead."""
        has = {
            "target": predicate.target,
            "run": predicate.run,
            "challenge": challenge_of(predicate),
            "key_sha256": key_sha256,
        }
        for name, found in has.items():
            wanted = getattr(self, name)
            if wanted is not None and wanted != found:
                label = "key's SHA-256" if name == "key_sha256" else name
                yield f"the {label} is {found}, not {wanted}"
        if self.not_before is not None and moment(predicate.started_at) < self.not_before:
            yield f"the run began at {predicate.started_at}, before {_written(self.not_before)}"
        finished = moment(predicate.finished_at)
        if self.oldest is not None and finished < self.oldest:
            yield f"the run ended at {predicate.finished_at}, before {_written(self.oldest)}"
        if self.oldest is not None and self.now is not None and finished > self.now + _AHEAD:
            yield f"the run ended at {predicate.finished_at}, which is still to come"


def challenge_of(predicate: Predicate) -> str | None:
    """Return the text that a verifier chose before the run; v1 has none."""
    challenge: str | None = getattr(predicate, "challenge", None)
    return challenge


def profile_of(predicate: Predicate) -> tuple[str, ...]:
    """Return the parts that were examined beside what every run is; v1 has none."""
    profile: tuple[str, ...] = getattr(predicate, "profile", ())
    return profile


def moment(text: str) -> datetime:
    """Parse a time in RFC 3339 with its offset.

    Raises:
        UsageError: it is written otherwise.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"not a time with its offset: {text[:100]!r}",
            hint="write it as 2026-01-31T12:00:00Z",
        )
    return found


def age(text: str) -> timedelta:
    """Parse an age such as 90s, 15m, 2h or 7d.

    Raises:
        UsageError: it is written otherwise.
    """
    found = _AGE.match(text)
    if found is None:
        raise UsageError(f"not an age: {text[:100]!r}", hint="write 90s, 15m, 2h or 7d")
    return timedelta(seconds=int(found["number"]) * _UNITS_S[found["unit"]])


def key_digest(text: str) -> str:
    """Parse the SHA-256 of a key; colons and capitals do not matter.

    Raises:
        UsageError: it is no SHA-256.
    """
    plain = text.replace(":", "").lower()
    if not _DIGEST.match(plain):
        raise UsageError(
            f"not a SHA-256: {text[:100]!r}",
            hint="write 64 hexadecimal digits: openssl pkey -pubin -in KEY.pub -outform DER "
            "| sha256sum",
        )
    return plain


def _written(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
