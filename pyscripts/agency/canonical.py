"""One canonical JSON form, so that equal values have equal bytes and equal digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def canonical_json(value: object) -> bytes:
    """Serialise `value` with sorted keys, no white space, UTF-8; NaN and infinities are refused.

    This is the subset of RFC 8785 that our documents need: they hold strings, integers, booleans,
    nulls, and floats that were rounded before.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def depth_of(value: object, most: int) -> int:
    """Return the depth of JSON data, or `most` + 1 if it is deeper; without recursion."""
    level, here = 0, [value]
    while here and level <= most:
        level += 1
        below: list[object] = []
        for each in here:
            if isinstance(each, Mapping):
                below.extend(each.values())
            elif isinstance(each, list | tuple):
                below.extend(each)
        here = below
    return level


def once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, as `object_pairs_hook`; a key that comes twice has no one meaning.

    Raises:
        ValueError: a key comes twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def sha256_hex(data: bytes) -> str:
    """Compute the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
