"""Client of an app against real TLS: who is trusted, and what is said of a refused certificate."""

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from recipe_certificates import DAY, authority

from agency.recipes.client import AppClient, Route, UnreachableError

OURS = authority("ours")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@contextmanager
def served(issued, place):
    (place / "served.pem").write_text(issued.chain + issued.key_pem)
    (place / "ca.pem").write_text(OURS.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "served.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield AppClient(
                "app.ci.test", Route("https", "127.0.0.1", server.server_port, place / "ca.pem")
            )
        finally:
            server.shutdown()
            thread.join()


def test_a_certificate_of_the_given_authority_is_trusted_and_told(tmp_path):
    with served(OURS.issue("*.ci.test"), tmp_path) as client:
        assert client.get("/").text == "hello"
        certificate = client.certificate()
        assert (certificate.names, certificate.issuer) == (("*.ci.test",), "ours")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: OURS.issue("*.ci.test", until=-DAY), "certificate has expired"),
        (lambda: authority("other").issue("*.ci.test"), "unable to get local issuer certificate"),
        (lambda: OURS.issue("*.test"), "certificate is not valid for 'app.ci.test'"),
        (lambda: authority("*.ci.test"), "self-signed certificate"),
    ],
)
def test_a_refused_certificate_is_named_with_its_fault(tmp_path, make, reason):
    with served(make(), tmp_path) as client:
        for ask in (client.get, client.certificate):
            with pytest.raises(UnreachableError, match="its certificate is refused") as caught:
                ask()
            assert reason in caught.value.message


def test_without_an_own_authority_those_of_the_system_are_trusted(tmp_path):
    with served(OURS.issue("*.ci.test"), tmp_path) as client:
        route = Route("https", "127.0.0.1", client.route.port)
        with pytest.raises(UnreachableError, match="refused"):
            AppClient("app.ci.test", route).get("/")
