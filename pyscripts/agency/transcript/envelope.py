"""Strict reader of a DSSE envelope and its JSON: one way to read every byte, or none.

Source: DSSE v1.0.2, envelope.md and protocol.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agency.canonical import canonical_json
from agency.transcript.problems import explain

MAX_ENVELOPE_BYTES = 16 * 1024 * 1024


class UnreadableError(ValueError):
    """Bytes that cannot be read as what they should be; the message says why."""


class SignatureEntry(BaseModel):
    """One signature. The key id, which nothing protects, is empty."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    keyid: Literal[""]
    sig: Annotated[str, StringConstraints(max_length=1024)]


class Envelope(BaseModel):
    """DSSE envelope as it stands in the file; payload and signatures in base64."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: Annotated[tuple[SignatureEntry, ...], Field(strict=False)]


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8 without duplicate keys, NaN or infinities.

    Raises:
        UnreadableError: it is no such JSON.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise UnreadableError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error.msg} at byte {error.pos}") from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits, or raised by a hook
        raise UnreadableError(str(error)) from None


def parse_canonical(data: bytes) -> Any:
    """Parse JSON in canonical form, which can be read in one way only.

    Raises:
        UnreadableError: it is not.
    """
    value = parse_json(data)
    try:
        same = canonical_json(value) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise UnreadableError("not in canonical form (sorted keys, no white space)")
    return value


def parse_envelope(data: bytes) -> Envelope:
    """Parse an envelope with its three fields and no others.

    Raises:
        UnreadableError: it is none.
    """
    try:
        return Envelope.model_validate(parse_json(data))
    except ValidationError as error:
        raise UnreadableError(explain(error)) from None


def is_canonical(data: bytes, envelope: Envelope) -> bool:
    """Return whether the file is written as `sign` writes it, and so in one way only."""
    return data == canonical_json(envelope.model_dump(mode="json", by_alias=True)) + b"\n"


def decode_base64(text: str) -> bytes:
    """Decode standard base64 with padding; refuse any other spelling of the same bytes.

    Raises:
        UnreadableError: it is not written so.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError("not standard base64") from None
    if base64.b64encode(data).decode() != text:
        raise UnreadableError("base64 with unused bits that are not zero")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UnreadableError(f"the key {twice[:80]!r} comes twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise UnreadableError(f"{text} is not JSON")
