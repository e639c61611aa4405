"""Known formats of tokens, by which a secret in a message is noticed. Pure.

Only by formats that their issuers documented, never by how random a text looks: digests and ids are
arguments of commands. Nothing here quotes what it finds.
"""

from __future__ import annotations

from agency.control.grammar.keys import BEGINNING
from agency.secrets import TOKEN_FORMATS, token_pattern

_FORMATS = (
    ("a token of this agency's HTTP interface", BEGINNING + r"[A-Za-z0-9_-]{20,}"),
    *TOKEN_FORMATS,
)
_KNOWN = token_pattern(_FORMATS)

EXPOSED = "Take it for exposed: revoke it where it was issued."
INSTEAD = (
    "Values come in by the link that !agency secrets set NAME or !agency secrets rotate NAME "
    "replies with."
)


def token_in(*texts: str) -> str | None:
    """Return the kind of the first known token in these texts; None if there is none."""
    for text in texts:
        found = _KNOWN.search(text)
        if found is not None and found.lastgroup is not None:
            return _FORMATS[int(found.lastgroup[1:])][0]
    return None
