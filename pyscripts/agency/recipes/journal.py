"""Log of one stage: bounded, private, and without the run's secrets before anything is stored."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.secrets import MIN_LENGTH, RedactingWriter, Redactor, SecretValue

MAX_BYTES = 16 * 1024 * 1024
_SHORTEST_END = 8
_STEP = 4


class Censor:
    """The secrets of a run, as far as they are known; redacts for all logs of the run."""

    def __init__(self) -> None:
        self._values: tuple[SecretValue, ...] = ()
        self.redactor = Redactor(())

    def add(self, values: Iterable[SecretValue]) -> None:
        """Know more secrets. Those too short to be found in a text are passed over."""
        long = [one for one in values if len(one.reveal().strip()) >= MIN_LENGTH]
        ends = [SecretValue(text) for one in long for text in _ends(one.reveal())]
        self._values = (*self._values, *long, *ends)
        self.redactor = Redactor(self._values)

    def clean(self, text: str) -> str:
        """Return text without secrets."""
        return self.redactor.redact(text)


def _ends(value: str) -> Iterator[str]:
    """List beginnings and ends of a value: programs that shorten it, such as pytest, show both.

    Not of each length: up to three characters of such a piece stay in the text.
    """
    for length in range(_SHORTEST_END, len(value), _STEP):
        yield value[:length]
        yield value[-length:]


class Journal:
    """Log file with mode 0600. A secret that is split over two writes is found too.

    A `lossy` one never fails: what cannot be stored is lost, and the work that it is of goes on.
    """

    def __init__(self, path: Path, censor: Censor, *, lossy: bool = False) -> None:
        self.path = path
        self.censor = censor
        self._lossy = lossy
        self._left = MAX_BYTES
        self._full = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            self._failed(error)
            self._file = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._redactor = censor.redactor
        self._writer = RedactingWriter(self._store, self._redactor)

    def write(self, chunk: bytes) -> None:
        """Take output of a program."""
        if self._redactor is not self.censor.redactor:  # more secrets are known now
            self._writer.close()
            self._redactor = self.censor.redactor
            self._writer = RedactingWriter(self._store, self._redactor)
        self._writer.write(self._decoder.decode(chunk))

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self.write(f"{text}\n".encode(errors="replace"))  # names of files may be no UTF-8

    def clean(self, text: str) -> str:
        """Return text without secrets."""
        return self.censor.clean(text)

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines as they are stored."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16 * 1024))
            return tuple(file.read().decode(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Store what was held back."""
        try:
            self._writer.write(self._decoder.decode(b"", final=True))
            self._writer.close()
        finally:
            os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _store(self, text: str) -> None:
        data = text.encode(errors="replace")
        if self._full:
            return
        self._full = len(data) > self._left
        if self._full:
            data = data[: self._left] + b"\n[the log ends here: it is too long]\n"
        self._left -= len(data)
        try:
            os.write(self._file, data)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self._lossy:
            raise PrerequisiteError(
                f"cannot write the log: {error.strerror or error}",
                where=str(self.path),
                hint="free some space",
            ) from error
