"""Tokens of the HTTP interface as they are made: the token, and the digest that stands for it."""

from __future__ import annotations

import hashlib
import re
import secrets

from agency.control.grammar.keys import BEGINNING

FORM = re.compile(rf"{BEGINNING}[A-Za-z0-9_-]{{43}}\Z")


def new_token() -> str:
    """Make a token of 256 random bits."""
    return BEGINNING + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
