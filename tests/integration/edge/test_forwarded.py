"""The edge's headers in a real nginx: what a client says of itself does not arrive.

The file that the NixOS module includes is included here, behind a listener like the module's: the
client's address comes in a PROXY header over a Unix socket.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from debian_nginx import Nginx
from running_edge import EchoedHeaders

ROOT = Path(__file__).resolve().parents[3]
HEADERS = ROOT / "modules/lib/proxy-headers.conf"
CLIENT, CLAIMED = "203.0.113.7", "192.0.2.9"
CONFIGURATION = """
daemon off;
master_process off;
pid {place}/pid;
error_log {place}/error.log;
events {{}}
http {{
  access_log off;
  set_real_ip_from unix:;
  real_ip_header proxy_protocol;
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
  server {{
    listen unix:{place}/edge.sock proxy_protocol;
    location /ours/ {{
      proxy_pass http://127.0.0.1:{port};
      include {headers};
    }}
    location /believing/ {{
      proxy_pass http://127.0.0.1:{port};
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
SPOOFED = {
    "X-Forwarded-For": CLAIMED,
    "x-forwarded-for": f"{CLAIMED}, {CLAIMED}",
    "X-Real-IP": CLAIMED,
    "Forwarded": f"for={CLAIMED};host=evil.example;proto=http",
    "Client-IP": CLAIMED,
    "True-Client-IP": CLAIMED,
    "X-Client-IP": CLAIMED,
    "X-Cluster-Client-IP": CLAIMED,
    "X_Forwarded_For": CLAIMED,
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Port": "6666",
    "X-Forwarded-Prefix": "/evil.example",
    "X-Forwarded-Scheme": "evil.example",
    "X-Forwarded-User": "evil.example",
    "X-Original-URL": "/evil.example",
    "X-Rewrite-URL": "/evil.example",
}


@pytest.fixture(scope="module")
def edge(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Unix socket of an nginx before a service that says what arrives."""
    program = str(nginx.program)
    place = tmp_path_factory.mktemp("edge")
    service = ThreadingHTTPServer(("127.0.0.1", 0), EchoedHeaders)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    text = CONFIGURATION.format(place=place, port=service.server_port, headers=HEADERS)
    (place / "nginx.conf").write_text(text)
    argv = [program, "-e", str(place / "error.log"), "-p", str(place), "-c", f"{place}/nginx.conf"]
    process = subprocess.Popen(argv)
    try:
        deadline = time.monotonic() + 20
        while not (place / "edge.sock").exists():
            assert process.poll() is None, (place / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.05)
        yield place / "edge.sock"
    finally:
        process.terminate()
        process.wait(10)
        service.shutdown()
        service.server_close()


def _arrived(edge: Path, path: str, headers: dict[str, str]) -> list[tuple[str, str]]:
    """Make a request as CLIENT; return the headers that arrive."""
    lines = [f"PROXY TCP4 {CLIENT} 192.0.2.1 40000 443", f"GET {path} HTTP/1.1", "Host: matrix"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(edge))
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    found = json.loads(body)
    return [(name, value) for name, value in found]


def test_a_spoofed_address_does_not_arrive(edge: Path) -> None:
    arrived = _arrived(edge, "/ours/", SPOOFED)
    assert [value for name, value in arrived if name == "x-forwarded-for"] == [CLIENT]
    assert [value for name, value in arrived if name == "x-real-ip"] == [CLIENT]
    assert [one for one in arrived if CLAIMED in one[1] or "evil.example" in one[1]] == []
    assert "6666" not in dict(arrived).values()


def test_what_is_no_claim_arrives(edge: Path) -> None:
    arrived = dict(_arrived(edge, "/ours/", {"Authorization": "Bearer x", "User-Agent": "client"}))
    assert (arrived["authorization"], arrived["user-agent"]) == ("Bearer x", "client")
    assert (arrived["host"], arrived["x-forwarded-proto"]) == ("matrix", "http")


def test_a_believing_edge_would_pass_it_on(edge: Path) -> None:
    """The control: the client's address is appended to what the client says."""
    arrived = dict(_arrived(edge, "/believing/", {"X-Forwarded-For": CLAIMED}))
    assert arrived["x-forwarded-for"] == f"{CLAIMED}, {CLIENT}"
