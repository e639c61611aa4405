"""HTTP to an app under test: its own name, at the address where the reverse proxy answers."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agency.errors import AgencyError, PrerequisiteError, UsageError
from agency.recipes.headers import Headers

MAX_BODY = 16 * 1024 * 1024


class UnreachableError(AgencyError):
    """An app that does not answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """Way to the apps: the proxy's address, and the certificate that it must be trusted by."""

    scheme: str
    host: str
    port: int
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        """The route as a URL."""
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_route(url: str, ca_file: Path | None) -> Route:
    """Read a URL such as `https://127.0.0.1`.

    Raises:
        UsageError: it is none, or has a path.
        PrerequisiteError: the file has no certificates.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    good = parts.scheme in ("http", "https") and parts.hostname and port != -1
    if not good or parts.path.strip("/") or parts.query or parts.username:
        raise UsageError(
            f"{url[:80]!r} is not the address of a proxy",
            where="--through",
            hint="such as https://127.0.0.1:443",
        )
    default = 443 if parts.scheme == "https" else 80
    if ca_file is not None:
        _check(ca_file)
    return Route(parts.scheme, str(parts.hostname), port or default, ca_file)


def _check(ca_file: Path) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also what is no certificate: ssl.SSLError
        raise PrerequisiteError(
            f"no certificate can be read: {error.strerror or error}",
            where=str(ca_file),
            hint="name the file with the authority that signed the proxy's certificate",
        ) from error


@dataclass(frozen=True, slots=True)
class Response:
    """Answer of the app; redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Certificate of a server: its names, its issuer's common name, its end, and all of it."""

    names: tuple[str, ...]
    issuer: str
    not_after: str
    der: bytes = field(repr=False)


def _why(error: Exception) -> str:
    """Say why there is no answer; of a refused certificate, what is wrong with it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    return f"no answer: {error or type(error).__name__}"


@dataclass(frozen=True, slots=True)
class AppClient:
    """Client of the app at `domain`."""

    domain: str
    route: Route
    timeout_s: float = 10.0

    def get(self, path: str = "/", **headers: str) -> Response:
        """GET a path."""
        return self.request("GET", path, headers=headers)

    def put(self, path: str, body: bytes | str, **headers: str) -> Response:
        """PUT a body at a path."""
        return self.request("PUT", path, body=body, headers=headers)

    def post(self, path: str, body: bytes | str, **headers: str) -> Response:
        """POST a body to a path."""
        return self.request("POST", path, body=body, headers=headers)

    def delete(self, path: str, **headers: str) -> Response:
        """DELETE a path."""
        return self.request("DELETE", path, headers=headers)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request to the proxy with the app's name in SNI and Host.

        Raises:
            UnreachableError: no answer came, or a certificate that is not trusted.
        """
        connection = http.client.HTTPConnection(
            self.domain, self.route.port, timeout=self.timeout_s
        )
        try:
            connection.sock = self._connect()
            data = body.encode() if isinstance(body, str) else body
            connection.request(
                method, path, body=data, headers={"Host": self.domain, **(headers or {})}
            )
            answer = connection.getresponse()
            return Response(answer.status, Headers(answer.getheaders()), answer.read(MAX_BODY))
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(_why(error), where=self._where(method, path)) from error
        finally:
            connection.close()

    def certificate(self) -> Certificate:
        """Return the certificate that answers for the app's name. It was checked.

        Raises:
            UnreachableError: no answer came, or a certificate that is not trusted, or no TLS.
        """
        try:
            with self._connect() as connection:
                if not isinstance(connection, ssl.SSLSocket):
                    raise UnreachableError("no TLS", where=self._where("certificate", ""))
                told: Any = connection.getpeercert() or {}
                der = connection.getpeercert(binary_form=True) or b""
        except OSError as error:
            raise UnreachableError(_why(error), where=self._where("certificate", "")) from error
        names = tuple(value for kind, value in told.get("subjectAltName", ()) if kind == "DNS")
        issuer = dict(pair for part in told.get("issuer", ()) for pair in part)
        return Certificate(names, str(issuer.get("commonName", "")), told["notAfter"], der)

    def _where(self, method: str, path: str) -> str:
        return f"{method} {self.route.scheme}://{self.domain}{path} at {self.route.url}"

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self.route.host, self.route.port), self.timeout_s)
        if self.route.scheme == "http":
            return plain
        context = ssl.create_default_context(cafile=self.route.ca_file)
        try:
            return context.wrap_socket(plain, server_hostname=self.domain)
        except BaseException:
            plain.close()
            raise
