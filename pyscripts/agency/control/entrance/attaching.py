"""Documents that `agency command` hands in: checked here, named by digest in the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.errors import UsageError

# Commands that take a whole document.
TAKING = ("gosuto set", "gosuto validate")


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
    from agency.gosuto import canonical, read_document, sha256
    from agency.settings import read_bounded

    words = text.split(" ")
    if " ".join(words[1:3]) not in TAKING:
        raise UsageError(
            "this command takes no document", hint=f"one of these does: {', '.join(TAKING)}"
        )
    document = read_document(str(file), read_bounded(file, what="the document"))
    return Attached(f"{text} --document=sha256:{sha256(document)}", canonical(document).decode())
