"""Redaction of secrets in text and in streams, also in encoded forms.

A value is recognised unchanged and after JSON or Python escaping, HTML escaping, URL
encoding, hexadecimal, and base64 (standard and URL-safe) at any of the three alignments inside a
longer encoded text. Of a value with several lines each long line is recognised too, because logs
and pages show lines.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from agency.errors import InternalError
from agency.secrets.values import SecretValue

MIN_LENGTH = 6
MIN_LINE = 16
# Shorter than MIN_LENGTH, so that no mark is itself a secret.
MARK = "[***]"

Interval = tuple[int, int]


def encodings(value: str) -> frozenset[str]:
    """Return every form of `value` that the redactor searches for, `value` included."""
    data = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        html.escape(value, quote=False),
        data.hex(),
        data.hex().upper(),
    }
    for encoded in (quote(data, safe="/"), quote(data, safe=""), quote_plus(data)):
        forms |= {encoded, _lower_percents(encoded)}
    forms.update(_base64_forms(data))
    return frozenset(forms)


def _lower_percents(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_forms(data: bytes) -> Iterator[str]:
    for offset in range(3):
        # The first characters depend on the bytes before, the last one on the bytes after.
        first, last = (0, 2, 3)[offset], (offset + len(data)) * 8 // 6
        padded = b"\0" * offset + data
        yield base64.b64encode(padded).decode()[first:last]
        yield base64.urlsafe_b64encode(padded).decode()[first:last]


def _parts(value: str) -> Iterator[str]:
    yield value
    stripped = value.strip()
    if stripped != value:
        yield stripped
    if "\n" in stripped:
        lines = (line.strip() for line in stripped.splitlines())
        yield from (line for line in lines if len(line) >= MIN_LINE and line[:5] != "-----")


class Redactor:
    """Redactor that replaces every known secret in a text by MARK.

    Raises:
        InternalError: a value is shorter than MIN_LENGTH characters and would match everywhere.
    """

    def __init__(self, values: Iterable[SecretValue]) -> None:
        forms: set[str] = set()
        for value in values:
            if len(value.reveal().strip()) < MIN_LENGTH:
                raise InternalError(
                    f"a secret shorter than {MIN_LENGTH} characters cannot be redacted",
                    hint="use a longer secret",
                )
            for part in _parts(value.reveal()):
                forms |= encodings(part)
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"

    def find(self, text: str) -> list[Interval]:
        """Find the secrets in `text`: disjoint half-open intervals, in order."""
        found: list[Interval] = []
        for form in self._forms:
            at = text.find(form)
            while at >= 0:
                found.append((at, at + len(form)))
                at = text.find(form, at + 1)
        return _merged(found)

    def redact(self, text: str) -> str:
        """Return `text` with each secret replaced by MARK."""
        pieces: list[str] = []
        done = 0
        for start, end in self.find(text):
            pieces += (text[done:start], MARK)
            done = end
        pieces.append(text[done:])
        return "".join(pieces)

    def undecided(self, text: str) -> int:
        """Return the index from which `text` may be the start of an unfinished secret."""
        earliest = len(text)
        for form in self._forms:
            lowest = max(0, len(text) - len(form) + 1)
            probe = form[:4]
            at = text.find(probe, lowest)
            while 0 <= at < earliest:
                if form.startswith(text[at:]):
                    earliest = at
                    break
                at = text.find(probe, at + 1)
            for at in range(max(lowest, len(text) - len(probe) + 1), earliest):
                if form.startswith(text[at:]):
                    earliest = at
                    break
        return earliest


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


class RedactingWriter:
    """A stream that redacts text, also where a chunk boundary cuts a secret in two.

    Text that may be the start of a secret is held back until more text decides it, or until
    `close()`: at most the length of the longest form.
    """

    def __init__(self, write: Callable[[str], object], redactor: Redactor) -> None:
        self._write = write
        self._redactor = redactor
        self._held = ""
        self._covered = 0  # length of held text that belongs to a secret whose MARK was written

    def write(self, chunk: str) -> int:
        """Take a chunk and pass on the decided part. Returns the number of characters taken."""
        text = self._held + chunk
        self._pass_on(text, self._redactor.undecided(text))
        return len(chunk)

    def close(self) -> None:
        """Pass on the held text; the stream below stays open."""
        self._pass_on(self._held, len(self._held))

    def _pass_on(self, text: str, until: int) -> None:
        known = [(0, self._covered)] if self._covered else []
        pieces: list[str] = []
        done = 0
        covered = 0
        for start, end in _merged([*known, *self._redactor.find(text)]):
            is_known = bool(known) and start == 0
            if start >= until and not is_known:
                break
            pieces.append(text[done:start])
            if not is_known:
                pieces.append(MARK)
            done = min(end, until)
            covered = max(0, end - until)
        pieces.append(text[done:until])
        self._held, self._covered = text[until:], covered
        out = "".join(pieces)
        if out:
            self._write(out)

    def __enter__(self) -> RedactingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
