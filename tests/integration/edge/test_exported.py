"""The exported edge in a real nginx, looked at by the probe itself and judged by its rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from debian_nginx import Nginx
from running_edge import DOMAIN, Edge, serving

from agency.spinup.probes import edge as probes
from agency.spinup.probes.edge import CALLER, LIES
from agency.spinup.targets.incus.parts.edge.certificate import VALID, make_certificates
from agency.transcript import PROBES

At = Callable[[Edge], None]
MATRIX = f"matrix.{DOMAIN}"


def look(edge: Edge) -> dict[str, Any]:
    here: Any = None
    return probes.tls(here, probes.Edge(authority=edge.certificates.authority, domain=DOMAIN))  # type: ignore[return-value]


def test_it_holds(edge: Edge, at: At) -> None:
    at(edge)
    seen = look(edge)
    assert PROBES["edge.tls"].judge(seen).reason == ""
    assert [site["status"] for site in seen["sites"]] == [200, 200, 200]
    assert seen["plainHttp"]["status443"] == 400


def test_the_homeserver_is_told_the_true_address_and_no_lie(edge: Edge, at: At) -> None:
    at(edge)
    connection = probes._connect(probes._trusting(edge.certificates.authority), MATRIX, CALLER)
    status, _, body = probes._ask(connection, MATRIX, "/_matrix/client/versions", LIES)
    assert status == 200
    arrived = dict(json.loads(body))
    assert (arrived["x-forwarded-for"], arrived["x-real-ip"]) == (CALLER, CALLER)
    assert (arrived["host"], arrived["x-forwarded-proto"]) == (MATRIX, "https")
    assert "forwarded" not in arrived


@pytest.mark.parametrize("age", [VALID, VALID + timedelta(days=400)], ids=["just", "long"])
def test_an_expired_certificate_does_not_hold(
    age: timedelta, nginx: Nginx, at: At, tmp_path: Path
) -> None:
    expired = make_certificates(DOMAIN, datetime.now(UTC) - age - timedelta(seconds=2))
    with serving(nginx, tmp_path, expired) as edge:
        at(edge)
        seen = look(edge)
    assert {site["problem"] for site in seen["sites"]} == {"certificate has expired"}
    assert "verified: must be True" in PROBES["edge.tls"].judge(seen).reason


def test_a_foreign_certificate_does_not_hold(nginx: Nginx, at: At, tmp_path: Path) -> None:
    ours, theirs = (make_certificates(DOMAIN, datetime.now(UTC)) for _ in range(2))
    with serving(nginx, tmp_path, theirs) as edge:
        at(edge)
        seen = look(replace(edge, certificates=ours))
    assert {site["problem"] for site in seen["sites"]} == {"certificate signature failure"}
    assert "verified: must be True" in PROBES["edge.tls"].judge(seen).reason


def test_a_certificate_for_another_domain_does_not_hold(
    nginx: Nginx, at: At, tmp_path: Path
) -> None:
    other = make_certificates("other.example", datetime.now(UTC))
    with serving(nginx, tmp_path, other) as edge:
        at(edge)
        seen = look(edge)
    assert all("Hostname mismatch" in site["problem"] for site in seen["sites"])
    assert not PROBES["edge.tls"].judge(seen).ok


def test_a_chain_without_its_middle_does_not_hold(nginx: Nginx, at: At, tmp_path: Path) -> None:
    """An operator puts in the leaf alone: browsers that know the middle would still open."""
    whole = make_certificates(DOMAIN, datetime.now(UTC))
    leaf, _ = x509.load_pem_x509_certificates(whole.chain.encode())
    alone = leaf.public_bytes(Encoding.PEM).decode()
    with serving(nginx, tmp_path, replace(whole, chain=alone)) as edge:
        at(edge)
        seen = look(edge)
    assert not PROBES["edge.tls"].judge(seen).ok
    assert {site["verified"] for site in seen["sites"]} == {False}
