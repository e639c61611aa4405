"""Probes by TLS, and by Docker's socket, against simulated services with certificates of a test."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from authority import DAY, NOW, Authority
from observing import Take
from serving import BAD, DOMAIN, Serve, status

WILDCARD = f"*.{DOMAIN}"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def context(authority: Authority, tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """What a server needs to answer for names."""

    def context(
        *names: str, end: datetime = NOW + 30 * DAY, clients: bool = False
    ) -> ssl.SSLContext:
        certificate, key = authority.issue(*names, end=end)
        (tmp_path / "chain.pem").write_bytes(certificate + key)
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(tmp_path / "chain.pem")
        if clients:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(cadata=authority.pem.decode())
        return made

    return context


Context = Callable[..., ssl.SSLContext]


async def test_the_edge_answers_for_a_name_of_the_instance(
    serve: Serve, take: Take, context: Context
) -> None:
    port = (await serve({}, tls=context(WILDCARD, DOMAIN))).port
    seen = await take("shop.edge", port=port)
    assert seen.status == "passed", seen.reason
    assert seen.evidence["names"] == sorted([WILDCARD, DOMAIN])
    assert 29 < seen.evidence["daysLeft"] <= 30
    again = await take("shop.traefik", ports={"traefik": port})
    assert again.status == "passed", again.reason
    assert again.evidence["host"] == f"traefik.{DOMAIN}"


@pytest.mark.parametrize(
    ("names", "end", "reason"),
    [
        (("*.elsewhere.example",), NOW + DAY, "names: the certificate is not for the host"),
        ((f"*.deeper.{DOMAIN}",), NOW + DAY, "names: the certificate is not for the host"),
        ((), NOW + DAY, "names"),
        ((WILDCARD,), NOW - DAY, "daysLeft"),
    ],
    ids=["another domain", "another level", "no name", "expired"],
)
async def test_a_certificate_that_does_not_fit_is_named(
    names: tuple[str, ...],
    end: datetime,
    reason: str,
    serve: Serve,
    take: Take,
    context: Context,
) -> None:
    port = (await serve({}, tls=context(*names, end=end))).port
    assert reason in str((await take("shop.edge", port=port)).reason)


async def test_who_speaks_no_tls_is_no_edge(
    serve: Serve, take: Take, unused_tcp_port: int, impatient: None
) -> None:
    plain = await take("shop.edge", port=(await serve({})).port)
    assert "no handshake" in str(plain.reason)
    nobody = await take("shop.edge", port=unused_tcp_port)
    assert "no handshake: ConnectionRefusedError" in str(nobody.reason)


def element(server_name: str = DOMAIN, base_url: str = f"https://matrix.{DOMAIN}") -> Any:
    homeserver = {"base_url": base_url, "server_name": server_name}
    return {"brand": "Agency", "default_server_config": {"m.homeserver": homeserver}}


async def test_element_is_asked_by_its_name(serve: Serve, take: Take, context: Context) -> None:
    hellos: list[str] = []
    tls = context(WILDCARD)
    tls.sni_callback = lambda _socket, name, _context: hellos.append(name)
    service = await serve({"/config.json": element()}, tls=tls)
    seen = await take("shop.element", port=service.port)
    assert seen.status == "passed", seen.reason
    assert hellos == [f"element.{DOMAIN}"]
    assert [request.headers["Host"] for request in service.asked] == hellos


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (element(server_name="elsewhere.example"), "serverName"),
        (element(base_url="https://matrix.elsewhere.example"), "baseUrl"),
        (element(base_url=f"http://matrix.{DOMAIN}"), "baseUrl"),
        *((answer, "") for answer in BAD.values()),
    ],
    ids=["another homeserver", "another address", "no TLS", *BAD],
)
async def test_another_configuration_of_element_is_refused(
    wrong: Any, reason: str, serve: Serve, take: Take, context: Context, impatient: None
) -> None:
    port = (await serve({"/config.json": wrong}, tls=context(WILDCARD))).port
    seen = await take("shop.element", port=port)
    assert seen.status == "failed"
    assert reason in str(seen.reason)


# As kube-apiserver answers (Kubernetes API health endpoints; NodeList of core/v1).
READY = "[+]ping ok\n[+]log ok\n[+]etcd ok\nreadyz check passed\n"


def node(ready: str = "True") -> dict[str, Any]:
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    info = {"kubeletVersion": "v1.34.1+k3s1"}
    return {
        "metadata": {"name": "agency"},
        "status": {"conditions": conditions, "nodeInfo": info},
    }


async def ready(_: web.Request) -> web.Response:
    return web.Response(text=READY)


async def not_ready(_: web.Request) -> web.Response:
    return web.Response(status=500, text=READY.replace("[+]etcd ok", "[-]etcd failed"))


CLUSTER: dict[str, Any] = {
    "/readyz": ready,
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.1+k3s1"},
    "/api/v1/nodes": {"kind": "NodeList", "items": [node()]},
}


@pytest.fixture
def kubeconfig(authority: Authority, tmp_path: Path) -> Callable[[int], Path]:
    """As k3s writes it."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    def write(port: int, *, host: str = "127.0.0.1") -> Path:
        certificate, key = authority.issue()
        cluster = {
            "server": f"https://{host}:{port}",
            "certificate-authority-data": text(authority.pem),
        }
        user = {"client-certificate-data": text(certificate), "client-key-data": text(key)}
        file = tmp_path / "k3s.yaml"
        document = {
            "clusters": [{"cluster": cluster, "name": "default"}],
            "users": [{"name": "default", "user": user}],
        }
        file.write_text(yaml.safe_dump(document))
        return file

    return write


async def test_a_cluster_is_asked_with_the_administrators_certificate(
    serve: Serve, take: Take, context: Context, kubeconfig: Any
) -> None:
    port = (await serve(CLUSTER, tls=context("127.0.0.1", clients=True))).port
    file = kubeconfig(port)
    seen = await take("shop.k3s", kubeconfig=file)
    assert seen.status == "passed", seen.reason
    assert (seen.evidence["readyz"]["passed"], seen.evidence["readyz"]["failed"]) == (3, 0)
    key = yaml.safe_load(file.read_text())["users"][0]["user"]["client-key-data"]
    assert key not in json.dumps(seen.evidence)


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/readyz", not_ready, "readyz.status"),
        ("/api/v1/nodes", {"items": [node("False")]}, "nodes.0.ready"),
        ("/api/v1/nodes", {"items": [node("Unknown")]}, "nodes.0.ready"),
        ("/api/v1/nodes", {"items": []}, "nodes"),
        ("/api/v1/nodes", status(403), "JSON"),
        *((path, answer, "") for path in CLUSTER for answer in BAD.values()),
    ],
)
async def test_a_cluster_that_is_not_ready_is_named(
    path: str,
    answer: Any,
    reason: str,
    serve: Serve,
    take: Take,
    context: Context,
    kubeconfig: Any,
    impatient: None,
) -> None:
    tls = context("127.0.0.1", clients=True)
    port = (await serve({**CLUSTER, path: answer}, tls=tls)).port
    seen = await take("shop.k3s", kubeconfig=kubeconfig(port))
    assert seen.status == "failed"
    assert reason in str(seen.reason)


async def test_a_cluster_of_another_authority_is_not_ours(
    serve: Serve, take: Take, tmp_path: Path, kubeconfig: Any
) -> None:
    certificate, key = Authority().issue("127.0.0.1")
    (tmp_path / "other.pem").write_bytes(certificate + key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "other.pem")
    port = (await serve(CLUSTER, tls=tls)).port
    seen = await take("shop.k3s", kubeconfig=kubeconfig(port))
    assert "ClientConnectorCertificateError" in str(seen.reason)


async def test_a_cluster_elsewhere_is_not_asked(take: Take, kubeconfig: Any) -> None:
    seen = await take("shop.k3s", kubeconfig=kubeconfig(6443, host="10.0.0.1"))
    assert "the cluster is not on loopback" in str(seen.reason)


# As `GET /info` of the Docker Engine's API.
DOCKER = {
    "ServerVersion": "28.5.1",
    "Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "Nodes": 1},
}


@pytest.fixture
async def docker(tmp_path: Path) -> Any:
    runners = []

    async def serve(answer: Any) -> Path:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if callable(answer):
                response: web.StreamResponse = await answer(request)
                return response
            return web.json_response(answer)

        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
        runners.append(runner)
        return tmp_path / "docker.sock"

    yield serve
    for runner in runners:
        await runner.cleanup()


Docker = Callable[[Any], Awaitable[Path]]


async def test_a_swarm_is_asked_by_dockers_socket(docker: Docker, take: Take) -> None:
    seen = await take("shop.swarm", socket=await docker(DOCKER))
    assert seen.status == "passed", seen.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {**DOCKER, "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False}},
        {**DOCKER, "Swarm": {**DOCKER["Swarm"], "ControlAvailable": False}},  # type: ignore[dict-item]
        *BAD.values(),
    ],
)
async def test_docker_without_a_swarm_is_refused(
    wrong: Any, docker: Docker, take: Take, impatient: None
) -> None:
    assert (await take("shop.swarm", socket=await docker(wrong))).status == "failed"


async def test_without_docker_there_is_no_swarm(take: Take, tmp_path: Path) -> None:
    seen = await take("shop.swarm", socket=tmp_path / "none.sock")
    assert "no answer: UnixClientConnectorError" in str(seen.reason)
