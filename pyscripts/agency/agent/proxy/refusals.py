"""Refusals of a call, in the form that programs of either wire format show to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agency.agent.models.client import WireFormat

# Reason: the types that the two formats' own documents use for it.
_TYPES: Mapping[str, tuple[str, str]] = {
    "token": ("authentication_error", "authentication_error"),
    "model": ("permission_error", "permission_error"),
    "policy": ("permission_error", "permission_error"),
    "field": ("permission_error", "permission_error"),
    "request": ("invalid_request_error", "invalid_request_error"),
    "size": ("invalid_request_error", "request_too_large"),
    "tokens": ("invalid_request_error", "invalid_request_error"),
    "budget": ("insufficient_quota", "billing_error"),
    "rate": ("rate_limit_error", "rate_limit_error"),
    "concurrency": ("rate_limit_error", "rate_limit_error"),
    "provider": ("api_error", "api_error"),
    "time": ("api_error", "timeout_error"),
    "ledger": ("api_error", "api_error"),
}
REASONS = tuple(_TYPES)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """Refusal with its HTTP status; `reason` is one of REASONS."""

    def __init__(
        self, status: int, reason: str, message: str, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.retry_after_s = retry_after_s


def error_body(wire: WireFormat, reason: str, message: str) -> dict[str, Any]:
    """Write the body of a refusal."""
    openai, anthropic = _TYPES.get(reason, _TYPES["provider"])
    told = f"agency proxy: {message}"
    if wire == "anthropic":
        return {"type": "error", "error": {"type": anthropic, "message": told}}
    return {"error": {"message": told, "type": openai, "param": None, "code": reason}}


def error_event(wire: WireFormat, reason: str, message: str) -> bytes:
    """Write the event that ends a stream."""
    data = json.dumps(error_body(wire, reason, message)).encode()
    return (b"event: error\n" if wire == "anthropic" else b"") + b"data: %s\n\n" % data
