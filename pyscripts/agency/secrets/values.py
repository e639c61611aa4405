"""A secret value that stays hidden when it is printed, formatted, pickled or compared."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any, NoReturn, Self

HIDDEN = "[secret]"

# Per process, so that a digest in a log cannot be used to try guesses against a weak secret.
_DIGEST_KEY = os.urandom(32)


class SecretValue:
    """Text that only `reveal()` shows."""

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the value itself: for the code that needs it, never for a message."""
        return self._value

    def digest(self) -> str:
        """Return a short fingerprint; equal values have equal ones within this process only."""
        return hmac.new(_DIGEST_KEY, self._bytes(), hashlib.sha256).hexdigest()[:16]

    def _bytes(self) -> bytes:
        return self._value.encode("utf-8", "surrogatepass")

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    __hash__ = None  # type: ignore[assignment]  # a dict key would compare by hash, not in constant time

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret value does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret value does not change")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret value cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
