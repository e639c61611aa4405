"""Attachments of a command: a document, named in it by digest, or the value of a secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.errors import UsageError

# Commands that take a whole document, and those that take a value.
TAKING = ("gosuto set", "gosuto validate")
VALUED = ("secrets set", "secrets rotate")


@dataclass(frozen=True, slots=True)
class Attached:
    """A command's text that names the document which goes with it."""

    text: str
    document: str = ""


def attach(text: str, file: Path | None) -> Attached:
    """Add a document to the text of a command; without a file, nothing is added.

    Raises:
        UsageError: the command takes no document.
        GosutoError: it is invalid; every problem has its line and field.
        PrerequisiteError: it cannot be read.
    """
    if file is None:
        return Attached(text)
    from agency.settings import read_bounded

    check_takes(text, TAKING, "document")
    return named(text, read_bounded(file, what="the document"), str(file))


def named(text: str, content: bytes, file: str = "document") -> Attached:
    """Name a document in the text of its command, by the digest of its canonical form.

    Raises:
        GosutoError: it is invalid; every problem has its line and field.
    """
    from agency.gosuto import canonical, read_document, sha256

    document = read_document(file, content)
    digest = f"--document=sha256:{sha256(document)}"
    text = text if digest in text.split(" ") else f"{text} {digest}"
    return Attached(text, canonical(document).decode())


def check_takes(text: str, taking: tuple[str, ...], what: str) -> None:
    """Check that the text of a command is one of those that something goes with.

    Raises:
        UsageError: it is another one.
    """
    if " ".join(text.split(" ")[1:3]) not in taking:
        raise UsageError(
            f"this command takes no {what}", hint=f"one of these does: {', '.join(taking)}"
        )
