"""Kinds of arguments that name what is kept: what waits, tokens, heads of the audit log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agency.control.grammar.errors import shown
from agency.control.grammar.kinds import Kind, Named, ValueProblemError

_OPERATION = re.compile(r"op-[0-9a-f]{6,26}\Z")
_APPROVAL = re.compile(r"(op|ask)-[0-9a-f]{6,26}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_TOKEN = re.compile(r"[0-9a-f]{8,64}\Z")
BEGINNING = "agt_"  # of a token, so that people and programs know one where it does not belong
_HEAD = re.compile(r"(0|[1-9][0-9]{0,14}):[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class OperationId(Kind):
    """The id of an operation, or its beginning."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "operation"
        """Read an operation's id."""
        return _read_id(text, _OPERATION, "an operation")


@dataclass(frozen=True, slots=True)
class ApprovalId(Kind):
    """The id of what waits for an approval, or its beginning: an operation, or an agent's ask."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "approval"
        """Read the id of what waits."""
        return _read_id(text, _APPROVAL, "what waits for an approval")


def _read_id(text: str, pattern: re.Pattern[str], what: str) -> str:
    if pattern.match(text):
        return text
    folded = text.casefold()
    raise ValueProblemError(
        f"{shown(text)} is not the id of {what}",
        hint="`approvals list` shows the ids; the first six digits are enough",
        suggestion=folded if pattern.match(folded) else None,
    )


@dataclass(frozen=True, slots=True)
class TokenDigest(Kind):
    """The SHA-256 of a token, which is made and kept elsewhere."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "digest"
        """Read `sha256:` and 64 hexadecimal digits."""
        if _DIGEST.match(text):
            return text
        folded = text.casefold()
        if BEGINNING in text:
            raise ValueProblemError(
                "this is a token, and not its digest",
                hint="whoever read this has it: make another with `agency tokens create`, and say "
                "the line that it prints",
                is_secret=True,
            )
        raise ValueProblemError(
            "this is no digest of a token",
            hint="`agency tokens create` makes a token, and says its digest; the token itself is "
            "for nobody else, and belongs in no room",
            suggestion=folded if _DIGEST.match(folded) else None,
        )


@dataclass(frozen=True, slots=True)
class TokenId(Kind):
    """The id of a token: the beginning of its digest."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "token"
        """Read a token's id."""
        if _TOKEN.match(text):
            return text
        raise ValueProblemError("this is no token's id", hint="`tokens list` shows the ids")


@dataclass(frozen=True, slots=True)
class ChainHead(Kind):
    """A head of the audit log, kept elsewhere: the number of a row, and its hash."""

    def read(self, text: str, parameter: Named) -> str:  # noqa: ARG002 - it says "head"
        """Read `NUMBER:HASH`."""
        if _HEAD.match(text):
            return text
        raise ValueProblemError(
            f"{shown(text)} is no head of the audit log",
            hint="write it as 120:3f..., the number of a row and the 64 digits of its hash",
        )
