"""Text that people wrote, for a message: characters they do not see, and what must not be shown."""

from __future__ import annotations

import re
import unicodedata

MAX_SHOWN = 60
# One place more than a colon and a password: rest:https://user:password@host/
_WITH_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
# Of this machine alone may be asked without TLS: whoever listens could remove the backups later.
_IN_CLEAR = re.compile(r"(rest|s3):http://(?!(127\.0\.0\.1|localhost)[:/])", re.I)


def holds_password(url: str) -> bool:
    """Return whether a URL names a password; then its text is a secret, and never shown."""
    return _WITH_PASSWORD.search(url) is not None


def sends_in_clear(repository: str) -> bool:
    """Return whether a repository of backups is asked, with credentials, without TLS."""
    return _IN_CLEAR.match(repository) is not None


def odd_letter(text: str) -> str:
    """Name the first character that is not plain ASCII text, or return an empty string."""
    for number, letter in enumerate(text, start=1):
        if not letter.isascii() or not letter.isprintable():
            name = unicodedata.name(letter, "a control character")
            return f"character {number} is U+{ord(letter):04X}, {name}; type it anew"
    return ""


def shown(text: str) -> str:
    """Return the text for a message: quoted, short, with every odd character as its number."""
    short = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    return f'"{short.encode("unicode_escape").decode()}"'


def not_this(wanted: str, text: str) -> str:
    """Say what was wanted and what was found instead, and name an odd character of it."""
    odd = odd_letter(text)
    return f"{wanted}, not {shown(text)}" + (f": {odd}" if odd else "")
