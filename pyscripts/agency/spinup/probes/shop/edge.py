"""Probes of what is reached by TLS: the edge, Traefik behind it, and Element's configuration.

Who signed the certificate is not asked here: an instance may use an authority of its own. Names
and time are.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from agency import naming
from agency.canonical import sha256_hex
from agency.spinup.probes.probe import Here, probe
from agency.spinup.probes.shop.client import ANSWER_S, Ports, ShopError, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

EDGE_PORT = 443
_DAY_S = 86400.0


class Edge(Ports):
    """Port of the edge."""

    port: int = EDGE_PORT


@dataclass(frozen=True, slots=True)
class Hello:
    """Outcome of a handshake: the protocol, and the certificate in DER."""

    protocol: str
    certificate: bytes

    def evidence(self, host: str, now: datetime) -> Evidence:
        """Describe the certificate by its digest, its names, and the days that it has left."""
        read = x509.load_der_x509_certificate(self.certificate)
        try:
            extension = read.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = extension.value.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            names = []
        left = (read.not_valid_after_utc - now).total_seconds() / _DAY_S
        return {
            "host": host,
            "protocol": self.protocol,
            "certificate": sha256_hex(self.certificate),
            "names": sorted(names),
            "daysLeft": round(left, 3) if now >= read.not_valid_before_utc else -1.0,
        }


def any_certificate() -> ssl.SSLContext:
    """Make a context that shows a certificate in place of judging it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def hello(port: int, host: str) -> Hello:
    """Shake hands with a port of loopback, for a name.

    Raises:
        ShopError: there is nobody, or not in time.
    """
    where = f"127.0.0.1:{port} for {host}"
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=any_certificate(), server_hostname=host
            )
    except TimeoutError as error:
        raise ShopError(f"no handshake within {ANSWER_S:g} s", where=where) from error
    except (OSError, ssl.SSLError) as error:
        raise ShopError(f"no handshake: {type(error).__name__}", where=where) from error
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return Hello(str(tls.version()), tls.getpeercert(binary_form=True) or b"")
    finally:
        writer.close()


async def _handshake(here: Here, port: int, unit: str, name: str) -> Evidence:
    host = naming.public_host(name, here.identity.domain)
    seen = await frame(here, unit)
    return {**seen, **(await hello(port, host)).evidence(host, datetime.now(UTC))}


@probe("shop.edge", Edge)
async def edge(here: Here, told: Edge) -> Evidence:
    """Shake hands with the edge for the homeserver's name."""
    return await _handshake(here, told.port, "nginx.service", "matrix")


@probe("shop.traefik", Ports)
async def traefik(here: Here, told: Ports) -> Evidence:
    """Shake hands with Traefik for its own name."""
    return await _handshake(here, told.of("traefik"), "docker.service", "traefik")


@probe("shop.element", Edge)
async def element(here: Here, told: Edge) -> Evidence:
    """Get Element's configuration by its name, through the edge."""
    host = naming.public_host("element", here.identity.domain)
    seen = await frame(here, "nginx.service")
    async with service(told.port, tls=any_certificate()) as client:
        reply = await client.get("/config.json", {"Host": host}, name=host)
    homeserver = reply.json()["default_server_config"]["m.homeserver"]
    return {
        **seen,
        **reply.seen,
        "host": host,
        "serverName": homeserver["server_name"],
        "baseUrl": homeserver["base_url"],
        "digest": reply.digest,
    }
