"""Client of the HTTP interface: gives a command, follows it, and goes on after a lost connection.

give ──▶ POST with a key ──▶ events ──▶ end
 ▲ the same key again          ▲ Last-Event-ID
 └── connection lost, 429, 503 ┴── until the time is over
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from agency.control.kept.minting import FORM
from agency.errors import AgencyError, BadInputError, PrerequisiteError, UsageError

_CONNECT_S, _READ_S = 5.0, 40.0  # an open stream says something every 15 s
_AGAIN_S = 0.5
_MAX_BODY = 4 * 1024 * 1024
_LATER = (429, 503)

Tell = Callable[[str], None]


class LostError(AgencyError):
    """A command whose end is not known; it may have run."""


class RefusedByApiError(AgencyError):
    """A request that the interface refused; `problem` is what it says (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], where: str) -> None:
        super().__init__(str(problem.get("detail") or f"HTTP {status}"), where=where)
        self.status = status
        self.problem = problem


def read_token(file: Path) -> str:
    """Read a token that nobody else can read.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: others can read it, or it holds no token.
    """
    try:
        mode, text = file.stat().st_mode, file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(
            "cannot read the token",
            where=str(file),
            hint="`agency tokens create --output FILE` makes one",
        ) from error
    if mode & 0o077:
        raise BadInputError("others can read this token", where=str(file), hint=f"chmod 600 {file}")
    if not FORM.match(text):
        raise BadInputError("this file holds no token", where=str(file))
    return text


def checked_url(url: str) -> str:
    """Return the address of a control plane, if a token may be sent there.

    Raises:
        UsageError: it is none, or the token would cross a network in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no address", hint="write it as https://agency.example.org")
    if parts.username is not None or parts.password is not None:
        raise UsageError("an address holds no password", hint="the token comes by --token-file")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise UsageError(
            "a token is not sent in the clear", where=url, hint="use https, or a loopback address"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Bearer(requests.auth.AuthBase):
    """The token in the header; so no `.netrc` puts another in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        prepared.headers["Authorization"] = f"Bearer {self._token}"
        return prepared


@dataclass(slots=True)
class ApiClient:
    """A person's way to a control plane. `steady` and `sleep` are a clock for its patience."""

    url: str
    token: str = field(repr=False)
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def give(
        self,
        command: str,
        key: str,
        sent_ts: int,
        until: float,
        with_it: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Give a command; return its operation. The same key again gives the same one.

        `with_it` is what goes with it: a `document`, or the `value` of a secret.

        Raises:
            PrerequisiteError: nobody answers there, or the token opens nothing.
            RefusedByApiError: it became no operation.
            LostError: the connection broke, and no answer came until then.
        """
        body = {"command": command, "key": key, "sent_ts": sent_ts, **(with_it or {})}
        sent = False
        while True:
            try:
                with self._ask("POST", "/operations", json=body) as answer:
                    if answer.status_code not in _LATER:
                        return self._read(answer)
                    reason, wait_s = f"HTTP {answer.status_code}", _retry_after(answer)
            except requests.ConnectionError as error:
                if not sent and _never_connected(error):
                    raise self._unreachable() from error
                reason, wait_s = "the connection broke", _AGAIN_S
            except requests.Timeout:
                reason, wait_s = "no answer in time", _AGAIN_S
            sent = True
            if self.steady() + wait_s >= until:
                raise LostError(f"there is no answer: {reason}", where=self.url)
            self.sleep(wait_s)

    def follow(self, operation: str, tell: Tell, until: float) -> dict[str, Any] | None:
        """Follow an operation; return it at its end, None if that did not come until then."""
        last, shown = "", ""
        while self.steady() < until:
            try:
                for event in self._events(operation, last, until):
                    if event.kind == "end":
                        return event.data
                    last = event.id
                    if event.kind == "report":
                        tell(str(event.data.get("text", "")))
                    elif event.data.get("state") != shown:
                        shown = str(event.data.get("state"))
                        _tell_state(event.data, tell)
            except (requests.ConnectionError, requests.Timeout):
                pass  # the control plane ended, or the network did: go on where we were
            except requests.exceptions.ChunkedEncodingError:
                pass
            except RefusedByApiError as error:
                if error.status not in _LATER:
                    raise
            self.sleep(_AGAIN_S)
        return None

    def export(self, write: Callable[[str], None], after: int = 0) -> int:
        """Write the audit log, one row a line; return the number of the last row.

        Raises:
            LostError: it broke off; the rows so far are whole.
        """
        last = after
        try:
            with self._ask("GET", f"/audit/export?after={after}") as answer:
                if answer.status_code != 200:
                    self._read(answer)
                for line in _lines(answer):
                    if line:
                        last = int(json.loads(line)["sequence"])
                        write(line)
        except requests.exceptions.ChunkedEncodingError as error:
            raise LostError(f"the export broke off after row {last}", where=self.url) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise self._unreachable() from error
        return last

    def _events(self, operation: str, last: str, until: float) -> Iterator[_Event]:
        headers = {"Last-Event-ID": last} if last else {}
        path = f"/operations/{operation}/events"
        left_s = min(_READ_S, max(_AGAIN_S, until - self.steady()))
        with self._ask("GET", path, read_s=left_s, headers=headers) as answer:
            if answer.status_code != 200:
                self._read(answer)
            fields: dict[str, str] = {}
            for line in _lines(answer):
                if self.steady() >= until:
                    return
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    yield _Event(
                        fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])
                    )
                    fields = {}

    def _ask(
        self, method: str, path: str, *, read_s: float = _READ_S, **more: Any
    ) -> requests.Response:
        return requests.request(
            method,
            f"{self.url}/api/v1{path}",
            auth=_Bearer(self.token),
            timeout=(_CONNECT_S, read_s),
            allow_redirects=False,
            stream=True,
            **more,
        )

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        """Read an answer that holds one document.

        Raises:
            PrerequisiteError: it is no control plane's, or the token opens nothing.
            RefusedByApiError: it is a refusal.
        """
        try:
            told = json.loads(answer.raw.read(_MAX_BODY, decode_content=True))
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise PrerequisiteError(
                f"the answer is not a control plane's: HTTP {answer.status_code}",
                where=self.url,
                hint="is this the address of its HTTP interface?",
            )
        if answer.status_code == 401:
            raise PrerequisiteError(
                "the token opens nothing here: it expired, was taken back, or is of elsewhere",
                where=self.url,
                hint="`agency tokens create` makes another",
            )
        if answer.status_code >= 300:
            raise RefusedByApiError(answer.status_code, told, self.url)
        return told

    def _unreachable(self) -> PrerequisiteError:
        return PrerequisiteError(
            "nobody answers at this address",
            where=self.url,
            hint="check the address, and that control.json has `api`",
        )


@dataclass(frozen=True, slots=True)
class _Event:
    kind: str
    id: str
    data: dict[str, Any]


def _lines(answer: requests.Response) -> Iterator[str]:
    """Yield the lines of an answer as they come, broken at line feeds alone."""
    rest = b""
    for part in answer.iter_content(None):
        *whole, rest = (rest + part).split(b"\n")
        if len(rest) > _MAX_BODY:
            raise BadInputError("a line of the answer is too long")
        for line in whole:
            yield line.decode()


def _tell_state(operation: Mapping[str, Any], tell: Tell) -> None:
    waits = operation.get("waits")
    if operation.get("state") == "waiting" and isinstance(waits, dict):
        tell(
            f"It waits for an approval by the rule {waits['rule']}, until {operation['deadline']}: "
            f"approvals approve {str(operation['id'])[:9]}"
        )


def _retry_after(answer: requests.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 4 else _AGAIN_S


def _never_connected(error: requests.ConnectionError) -> bool:
    """Return whether nothing was sent: there was no connection."""
    import urllib3.exceptions as urllib3

    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else None
    return isinstance(reason, urllib3.NewConnectionError | urllib3.NameResolutionError) or (
        isinstance(error, requests.exceptions.SSLError | requests.exceptions.ConnectTimeout)
    )
