"""One canonical JSON form, so that equal values have equal bytes and equal digests."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> bytes:
    """Serialise `value` with sorted keys, no white space, UTF-8; NaN and infinities are refused.

    This is the subset of RFC 8785 that our documents need: they hold strings, integers, booleans,
    nulls, and floats that were rounded before.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Compute the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
