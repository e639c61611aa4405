"""A real nginx with the configuration that is exported for a guest, which NixOS wrote.

What is another here: places of files, the port, and where the homeserver is.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from binding import free_port
from debian_nginx import Nginx

from agency.guests.activation.definitions import load_definitions
from agency.instance.load import load_instance
from agency.instance.render import write_rendered
from agency.spinup.targets.incus.parts.edge.certificate import Certificates
from agency.spinup.targets.incus.parts.edge.part import EdgePart

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "agency.example"
CONFIGURATION = "usr/lib/agency/nixos/nginx.conf"
START_S = 20.0


class EchoedHeaders(BaseHTTPRequestHandler):
    """Answers with the headers that arrived."""

    def do_GET(self) -> None:
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep quiet."""


class _Homeserver(EchoedHeaders):
    protocol_version = "HTTP/1.1"


@dataclass(frozen=True)
class Edge:
    """A running edge."""

    port: int
    certificates: Certificates


def exported(tmp: Path) -> dict[str, str]:
    """Every file of a guest with the edge, for the example instance with Element."""
    instance = tmp / "instance"
    instance.mkdir()
    document = yaml.safe_load((ROOT / "instance/instance.yaml").read_text())
    EdgePart().adapt(document)
    (instance / "instance.yaml").write_text(yaml.safe_dump(document))
    write_rendered(load_instance(instance))
    definitions = load_definitions(ROOT / "modules/portable", instance, ("edge",))
    return {path: file.content.decode() for path, file in definitions.files.items()}


@contextmanager
def serving(nginx: Nginx, tmp: Path, certificates: Certificates) -> Iterator[Edge]:
    """Run the edge before a homeserver that tells what arrives."""
    homeserver = ThreadingHTTPServer(("127.0.0.1", 0), _Homeserver)
    threading.Thread(target=homeserver.serve_forever, daemon=True).start()
    port = free_port()
    place = tmp / "edge"
    for name in ("run", "tmp", "log", "credentials"):
        (place / name).mkdir(parents=True)
    (place / "credentials/wildcard-certificate").write_text(certificates.chain)
    (place / "credentials/wildcard-certificate-key").write_text(certificates.key)
    files = exported(tmp)
    moved = {
        "/usr/lib/nginx/modules/ngx_stream_module.so": str(nginx.module),
        "/usr/lib/agency": str(place / "usr/lib/agency"),
        "/etc/nginx/": f"{nginx.settings}/",
        "/run/credentials/nginx.service/": f"{place}/credentials/",
        "/run/nginx/": f"{place}/run/",
        "_temp_path /tmp/": f"_temp_path {place}/tmp/",
        "0.0.0.0:443": f"127.0.0.1:{port}",
        "[::]:443": f"unix:{place}/run/by-ipv6.sock",
        "\nhttp {\n": "\nhttp {\n  access_log off;\n",
        "http://127.0.0.1:8008": f"http://127.0.0.1:{homeserver.server_port}",
    }
    for path, text in files.items():
        if path.startswith("usr/lib/agency/"):
            for before, after in moved.items() if path == CONFIGURATION else ():
                assert before in text, before
                text = text.replace(before, after)  # noqa: PLW2901
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
    log = place / "log/error.log"
    # Its own user may read neither the place nor the key: here the one who tests is everybody.
    argv = [str(nginx.program), "-e", str(log), "-p", str(place), "-c", str(place / CONFIGURATION)]
    argv += ["-g", "user root;"] if Path("/proc/self").stat().st_uid == 0 else []
    tested = subprocess.run([*argv, "-t"], capture_output=True, text=True, timeout=30)
    assert tested.returncode == 0, tested.stderr
    with (place / "log/stderr").open("wb") as stderr:
        process = subprocess.Popen(argv, stderr=stderr)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert process.poll() is None, (place / "log/stderr").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.05)
        yield Edge(port, certificates)
    finally:
        process.terminate()
        process.wait(10)
        homeserver.shutdown()
        homeserver.server_close()
        shutil.rmtree(place)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
