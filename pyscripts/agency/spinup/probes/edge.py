"""Probes of the edge, from its own machine: TLS by name, and the addresses that a service sees."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import time
import warnings
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from agency import naming
from agency.clock import Clock
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.record import Evidence

_EDGE = ("127.0.0.1", 443)
_PLAIN = ("127.0.0.1", 80)
_TIMEOUT_S = 10.0
_POLL_S = 0.2
_MAX_BODY = 1024 * 1024
_SHOWN = (
    *("strict-transport-security", "x-content-type-options", "x-frame-options"),
    *("referrer-policy", "content-type", "server"),
)
_CLIENT = "/_matrix/client"
# Somebody on the machine's own loopback who is told from all others, and who says to be another
# (RFC 5737, documentation).
CALLER, CLAIMED = "127.83.0.1", "192.0.2.9"
LIES = {"X-Forwarded-For": CLAIMED, "X-Real-IP": CLAIMED, "Forwarded": f"for={CLAIMED}"}
_THROUGH, _PAST = "agency-probe (through the edge)", "agency-probe (past the edge)"
_CLOCK = Clock()

Pem = Annotated[str, Field(max_length=64 * 1024)]


class Edge(Nothing):
    """Authority that the certificate must come from, and the domain of the instance."""

    authority: Pem
    domain: str


class Caller(Edge):
    """A person, and how the conversation of the run was held."""

    user_id: str
    token: Annotated[str, Field(repr=False)]
    conversation_agent: str
    conversation_client: str


def _sites(domain: str) -> Mapping[str, str]:
    """Name a path that answers at each site."""
    return {
        domain: "/.well-known/matrix/client",
        naming.public_host("matrix", domain): f"{_CLIENT}/versions",
        naming.public_host("element", domain): "/config.json",
    }


def _trusting(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    return context


def _careless() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connect(context: ssl.SSLContext, host: str | None, source: str | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(
        _EDGE, timeout=_TIMEOUT_S, source_address=(source, 0) if source else None
    )
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _ask(
    connection: socket.socket, host: str, path: str, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Send one GET on an open connection and read its answer; the connection is then closed."""
    client = http.client.HTTPConnection(host, timeout=_TIMEOUT_S)
    client.sock = connection
    try:
        client.request("GET", path, headers={"Connection": "close", **headers})
        answer = client.getresponse()
        seen = {name: ", ".join(answer.headers.get_all(name, [])) for name in _SHOWN}
        return answer.status, {k: v for k, v in seen.items() if v}, answer.read(_MAX_BODY)
    finally:
        client.close()


@probe("edge.tls", Edge)
def tls(_here: Here, told: Edge) -> Evidence:
    """Ask every site over TLS, as a client that trusts one authority; try what must be refused."""
    trusting = _trusting(told.authority)
    sites = [_site(trusting, host, path) for host, path in _sites(told.domain).items()]
    matrix = naming.public_host("matrix", told.domain)
    paths = ("/", "/_synapse/admin/v1/server_version", "/_matrix/../_synapse/admin/v1/whois/x")
    return {
        "authority": hashlib.sha256(ssl.PEM_cert_to_DER_cert(told.authority)).hexdigest(),
        "sites": sites,
        "unknown": [
            {"host": host, **_refusal(_careless(), host)}
            for host in (f"nobody.{told.domain}", "elsewhere.example")
        ],
        "nameless": _refusal(_careless(), None),
        "oldProtocol": {"offered": "TLSv1.1", **_refusal(_old(), matrix)},
        "closed": [_closed(matrix, path) for path in paths],
        "plainHttp": _plain_http(matrix),
    }


def _site(context: ssl.SSLContext, host: str, path: str) -> Evidence:
    try:
        connection = _connect(context, host)
    except ssl.SSLCertVerificationError as error:
        return {"host": host, "verified": False, "problem": error.verify_message}
    certificate: dict[str, Any] = connection.getpeercert() or {}
    digest = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    protocol, cipher = connection.version(), connection.cipher()
    status, headers, _ = _ask(connection, host, path, {})
    return {
        "host": host,
        "path": path,
        "verified": True,
        "protocol": protocol,
        "cipher": cipher[0] if cipher else None,
        "names": [value for _, value in certificate["subjectAltName"]],
        "notBefore": _time(certificate["notBefore"]),
        "notAfter": _time(certificate["notAfter"]),
        "at": _CLOCK.now_iso(),
        "certificate": digest,
        "status": status,
        "headers": headers,
    }


def _time(text: str) -> str:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC).isoformat()


def _old() -> ssl.SSLContext:
    """Make a client that offers an old version and nothing else, and would take it."""
    context = _careless()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _refusal(context: ssl.SSLContext, host: str | None) -> Evidence:
    """Try a handshake that must not succeed."""
    try:
        connection = _connect(context, host)
    except ssl.SSLError as error:
        return {"outcome": "refused", "alert": error.reason or type(error).__name__}
    connection.close()
    return {"outcome": "answered"}


def _closed(host: str, path: str) -> Evidence:
    # Only what is answered counts here; whose certificate it is, the sites say.
    status, _, _ = _ask(_connect(_careless(), host), host, path, {})
    return {"url": f"https://{host}{path}", "status": status}


def _plain_http(host: str) -> Evidence:
    try:
        socket.create_connection(_PLAIN, timeout=_TIMEOUT_S).close()
        port80 = "answered"
    except ConnectionRefusedError:
        port80 = "refused"
    connection = socket.create_connection(_EDGE, timeout=_TIMEOUT_S)
    try:
        status: int | None = _ask(connection, host, f"{_CLIENT}/versions", {})[0]
    except (http.client.HTTPException, ConnectionError):
        status = None
    served = status is not None and status < http.client.BAD_REQUEST
    return {"port80": port80, "served443": served, "status443": status}


@probe("edge.client-address", Caller)
def client_address(_here: Here, told: Caller) -> Evidence:
    """Lie to the homeserver about one's address, through the edge and past it, and read it back."""
    matrix = naming.public_host("matrix", told.domain)
    person = {"Authorization": f"Bearer {told.token}"}
    lying = {**LIES, **person}
    whoami = f"{_CLIENT}/v3/account/whoami"
    edge = _connect(_trusting(told.authority), matrix, CALLER)
    through, _, _ = _ask(edge, matrix, whoami, {**lying, "User-Agent": _THROUGH})
    past, _, _ = _ask(_homeserver(), matrix, whoami, {**lying, "User-Agent": _PAST})
    kept = _kept(told.user_id, person, {_THROUGH, _PAST, told.conversation_agent})

    def request(agent: str, client: str, status: int) -> Evidence:
        return {
            "userAgent": agent,
            "client": client,
            "claimed": CLAIMED,
            "status": status,
            "kept": sorted(kept.get(agent, ())),
        }

    return {
        "userId": told.user_id,
        "lies": sorted(LIES),
        "throughEdge": request(_THROUGH, CALLER, through),
        "pastEdge": request(_PAST, "127.0.0.1", past),
        "conversation": {
            "userAgent": told.conversation_agent,
            "client": told.conversation_client,
            "kept": sorted(kept.get(told.conversation_agent, ())),
        },
    }


def _homeserver() -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", naming.SERVICE_PORTS["synapse"]), timeout=_TIMEOUT_S
    )


def _kept(user_id: str, person: Mapping[str, str], wanted: AbstractSet[str]) -> dict[str, set[str]]:
    """Read a person's addresses by user agent, as soon as there is one of each that is wanted.

    The homeserver writes them every few seconds, and while it writes it tells neither the old nor
    the new. What was not seen in time is absent.
    """
    until = _CLOCK.steady() + _TIMEOUT_S
    while True:
        kept = _sessions(user_id, person)
        if wanted <= kept.keys() or _CLOCK.steady() >= until:
            return kept
        time.sleep(_POLL_S)


def _sessions(user_id: str, person: Mapping[str, str]) -> dict[str, set[str]]:
    """Ask the homeserver for a person's addresses by user agent, which it tells to that person.

    Source: Synapse documentation, "Query current sessions for a user".
    """
    path = f"/_synapse/admin/v1/whois/{user_id}"
    status, _, body = _ask(_homeserver(), "localhost", path, person)
    if status != http.client.OK:
        raise OSError(f"whois answered {status}")
    found: dict[str, set[str]] = {}
    for device in json.loads(body)["devices"].values():
        for session in device["sessions"]:
            for connection in session["connections"]:
                found.setdefault(connection["user_agent"], set()).add(connection["ip"])
    return found
