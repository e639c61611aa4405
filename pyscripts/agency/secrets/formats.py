"""Known formats of tokens, as their issuers documented them. Pure.

Nothing is judged by how random it looks: digests and ids are not secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agency.secrets.redact import MARK

# Each begins where a word begins, and has at least as many characters as the issuer's shortest one.
# None looks further than a bound from where it begins, so that a long text takes linear time.
TOKEN_FORMATS: tuple[tuple[str, str], ...] = (
    ("a GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"),
    ("a GitLab token", r"gl(?:pat|rt|dt|cbt|ptt|ft|soat|oas|agent|imt)-[A-Za-z0-9_.-]{20,}"),
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
_KEY_BEGIN = re.compile(TOKEN_FORMATS[-1][1])
_KEY_END = re.compile(r"-{5}END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-{5}")


def token_pattern(formats: Sequence[tuple[str, str]]) -> re.Pattern[str]:
    """Compile formats into one pattern; the group `fN` is the format of the number N."""
    return re.compile(
        "|".join(f"(?<![A-Za-z0-9_])(?P<f{n}>{each})" for n, (_, each) in enumerate(formats))
    )


_TOKENS = token_pattern(TOKEN_FORMATS[:-1])


def redact_tokens(text: str) -> str:
    """Return `text` with MARK for every token of a known format, and for private keys as a whole.

    Of a private key without its last line everything after the first is taken out.
    """
    return _TOKENS.sub(MARK, _without_keys(text))


def _without_keys(text: str) -> str:
    pieces: list[str] = []
    done = 0
    while (begin := _KEY_BEGIN.search(text, done)) is not None:
        end = _KEY_END.search(text, begin.end())
        pieces += (text[done : begin.start()], MARK)
        done = len(text) if end is None else end.end()
    return "".join((*pieces, text[done:]))
