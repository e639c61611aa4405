"""Known formats of tokens, by which a secret in a message is noticed. Pure.

Only by formats that their issuers documented, never by how random a text looks: digests and ids are
arguments of commands. Nothing here quotes what it finds.
"""

from __future__ import annotations

import re

from agency.control.grammar.keys import BEGINNING

# Each begins where a word begins, and has at least as many characters as the issuer's shortest one.
# None looks further than a bound from where it begins, so that a long text takes linear time.
_FORMATS: tuple[tuple[str, str], ...] = (
    ("a GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("a GitLab token", r"gl(?:pat|rt|dt|cbt|ptt|ft|soat|oas|agent|imt)-[A-Za-z0-9_.-]{20,}"),
    ("a token of this agency's HTTP interface", BEGINNING + r"[A-Za-z0-9_-]{20,}"),
    ("an API key", r"sk-(?=[a-z_-]{0,80}[A-Z0-9])[A-Za-z0-9_-]{32,}"),
    ("an AWS access key", r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("a Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("an age key", r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}"),
    ("a Matrix access token", r"(?:syt|mat)_[A-Za-z0-9+/=]{1,200}_[A-Za-z]{20}_[A-Za-z0-9]{6}"),
    ("a Google API key", r"AIza[0-9A-Za-z_-]{35}"),
    ("a Hugging Face token", r"hf_[A-Za-z]{30,}"),
    ("a PyPI token", r"pypi-[A-Za-z0-9_-]{50,}"),
    ("an npm token", r"npm_[A-Za-z0-9]{36}"),
    ("a private key", r"-{5}BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-{5}"),
)
_KNOWN = re.compile(
    "|".join(f"(?<![A-Za-z0-9_])(?P<f{number}>{each})" for number, (_, each) in enumerate(_FORMATS))
)

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
