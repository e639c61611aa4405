"""Redaction of a request before it leaves: every text in it, keys of objects too."""

from __future__ import annotations

from typing import Any

from agency.secrets import Redactor, redact_tokens

_DEEPEST = 64


class TooDeepError(ValueError):
    """Objects inside one another beyond the bound."""


class RequestRedactor:
    """Redactor of the values that the proxy holds, and of known formats of tokens."""

    def __init__(self, held: Redactor) -> None:
        self._held = held

    def text(self, text: str) -> str:
        """Redact one text."""
        return redact_tokens(self._held.redact(text))

    def tree(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """Redact all texts of a JSON value; return it, and how many were changed.

        Raises:
            TooDeepError: it is nested too deeply.
        """
        if depth > _DEEPEST:
            raise TooDeepError
        if isinstance(value, str):
            said = self.text(value)
            return said, int(said != value)
        if isinstance(value, list):
            made = [self.tree(each, depth + 1) for each in value]
            return [each for each, _ in made], sum(count for _, count in made)
        if isinstance(value, dict):
            pairs = {self.text(key): self.tree(each, depth + 1) for key, each in value.items()}
            renamed = sum(key not in value for key in pairs)
            changed = sum(count for _, count in pairs.values())
            return {key: each for key, (each, _) in pairs.items()}, renamed + changed
        return value, 0
