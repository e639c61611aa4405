"""HTTP session under python-gitlab: bounded where requests has no bounds of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import requests
from urllib3.exceptions import HTTPError

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_LONGEST_ANSWER_S = 120.0
_LONGEST_PAUSE_S = 30  # of a rate limit; python-gitlab obeys it, ten times at most
_CHUNK_BYTES = 64 * 1024


class AnswerTooLongError(requests.RequestException):
    """An answer above the limit of bytes."""


class BoundedSession(requests.Session):
    """Session whose answers are bounded in size and time, without proxies and ~/.netrc."""

    def __init__(
        self,
        *,
        longest_answer_s: float = _LONGEST_ANSWER_S,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self._longest_answer_s = longest_answer_s
        self._steady = steady

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request and read the whole answer; a followed redirect could leak the token."""
        response = super().send(request, **{**kwargs, "stream": True, "allow_redirects": False})
        try:
            data = self._read(response)
        except HTTPError as error:
            raise requests.ConnectionError(type(error).__name__, request=request) from error
        finally:
            response.close()
        response.raw = io.BytesIO(data)  # requests reads the content from here
        response.headers.pop("RateLimit-Reset", None)  # the same, by the server's clock
        asked = response.headers.pop("Retry-After", "")
        if asked.isdecimal():
            response.headers["Retry-After"] = str(min(int(asked), _LONGEST_PAUSE_S))
        return response

    def _read(self, response: requests.Response) -> bytes:
        deadline = self._steady() + self._longest_answer_s
        data = bytearray()
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            data += chunk
            if len(data) > MAX_ANSWER_BYTES:
                raise AnswerTooLongError(f"more than {MAX_ANSWER_BYTES} bytes")
            if self._steady() > deadline:
                raise requests.Timeout("the answer does not end")
        return bytes(data)
