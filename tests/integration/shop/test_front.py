"""Probes against a real registry and a real nginx; who signs their certificates is a test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from debian_programs import program
from observing import Take
from serving import DOMAIN

from agency import ports

NGINX = """
daemon off;
master_process off;
pid {place}/pid;
error_log {place}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
  ssl_certificate {place}/certificate.pem;
  ssl_certificate_key {place}/key.pem;
  server {{ listen 127.0.0.1:{port} ssl default_server; ssl_reject_handshake on; }}
  server {{ listen 127.0.0.1:{port} ssl; server_name matrix.{domain}; return 404; }}
  server {{ listen 127.0.0.1:{port} ssl; server_name element.{domain}; root {place}/site; }}
}}
"""


def certificate(place: Path, *names: str) -> None:
    """Write a certificate for names, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        .sign(key, hashes.SHA256())
    )
    (place / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.contextmanager
def running(place: Path, port: int, *argv: str) -> Iterator[None]:
    """Run a program until its port is listened on, and end it afterwards."""
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while not ports.is_listening(port):
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < end, (place / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


Registry = Callable[[str], contextlib.AbstractContextManager[int]]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Debian's registry, which sends strangers to a token service; GitLab's is none here."""

    @contextlib.contextmanager
    def serve(realm: str) -> Iterator[int]:
        certificate(tmp_path, "gitlab")
        port = ports.assign(["registry"], {})["registry"]
        auth = {
            "realm": realm,
            "service": "container_registry",
            "issuer": "gitlab-issuer",
            "rootcertbundle": str(tmp_path / "certificate.pem"),
        }
        document = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / "images")}},
            "http": {"addr": f"127.0.0.1:{port}", "secret": "of-a-test"},
            "auth": {"token": auth} if realm else None,
        }
        (tmp_path / "registry.yml").write_text(
            json.dumps({name: value for name, value in document.items() if value is not None})
        )
        argv = (program("docker-registry", "docker-registry"), "serve", f"{tmp_path}/registry.yml")
        with running(tmp_path, port, *argv):
            yield port

    return serve


async def test_a_real_registry_sends_strangers_to_the_forge(registry: Registry, take: Take) -> None:
    with registry(f"https://gitlab.{DOMAIN}/jwt/auth") as port:
        seen = await take("shop.registry", ports={"registry": port})
    assert seen.status == "passed", (seen.reason, seen.evidence)


@pytest.mark.parametrize(
    ("realm", "reason"),
    [("", "status"), ("https://gitlab.elsewhere.example/jwt/auth", "realm")],
    ids=["open to strangers", "of another forge"],
)
async def test_a_real_registry_of_nobody_or_another_is_refused(
    realm: str, reason: str, registry: Registry, take: Take
) -> None:
    with registry(realm) as port:
        seen = await take("shop.registry", ports={"registry": port})
    assert seen.status == "failed"
    assert reason in str(seen.reason)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[int]:
    """A real nginx that refuses names it does not know, as the edge does."""
    found = program("nginx", "nginx")
    certificate(tmp_path, f"*.{DOMAIN}")
    port = ports.assign(["edge"], {})["edge"]
    site = tmp_path / "site"
    site.mkdir()
    homeserver = {"base_url": f"https://matrix.{DOMAIN}", "server_name": DOMAIN}
    document = {"default_server_config": {"m.homeserver": homeserver}}
    (site / "config.json").write_text(json.dumps(document))
    for path in (tmp_path, site, site / "config.json"):
        path.chmod(0o755)
    text = NGINX.format(place=tmp_path, port=port, domain=DOMAIN)
    (tmp_path / "nginx.conf").write_text(text)
    argv = (found, "-e", f"{tmp_path}/error.log", "-p", str(tmp_path), "-c", "nginx.conf")
    with running(tmp_path, port, *argv):
        yield port


async def test_a_real_edge_answers_for_its_names(edge: int, take: Take) -> None:
    seen = await take("shop.edge", port=edge)
    assert seen.status == "passed", seen.reason
    assert seen.evidence["names"] == [f"*.{DOMAIN}"]
    page = await take("shop.element", port=edge)
    assert page.status == "passed", page.reason


async def test_a_name_that_a_real_edge_refuses_is_no_service(edge: int, take: Take) -> None:
    seen = await take("shop.traefik", ports={"traefik": edge})
    assert "no handshake" in str(seen.reason)


async def test_another_site_is_not_element(edge: int, take: Take, tmp_path: Path) -> None:
    (tmp_path / "site/config.json").unlink()
    assert (await take("shop.element", port=edge)).status == "failed"
