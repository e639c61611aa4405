"""Probe of the cluster, by the administrator's kubeconfig of its machine.

The key in it goes to the TLS library by a file in memory, and is in no evidence.
"""

from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from agency.settings import read_bounded
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.probes.shop.client import Reply, ShopError, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
_MAX_CONFIG = 256 * 1024


class Cluster(Nothing):
    """Place of the kubeconfig."""

    kubeconfig: Path = KUBECONFIG


@probe("shop.k3s", Cluster)
async def k3s(here: Here, told: Cluster) -> Evidence:
    """Ask the cluster whether it is ready, for its version, and for its nodes."""
    seen = await frame(here, "k3s.service")
    port, tls = access(read_bounded(told.kubeconfig, most=_MAX_CONFIG, what="the kubeconfig"))
    async with service(port, tls=tls) as client:
        ready = await client.get("/readyz?verbose")
        version = await client.get("/version")
        nodes = await client.get("/api/v1/nodes?limit=100")
    return {
        **seen,
        "readyz": {**ready.seen, **_checks(ready)},
        "version": version.json()["gitVersion"],
        "nodes": [_node(one) for one in nodes.json()["items"]],
    }


def _checks(reply: Reply) -> Evidence:
    lines = reply.body.decode(errors="replace").splitlines()
    return {
        "passed": sum(line.startswith("[+]") for line in lines),
        "failed": sum(line.startswith("[-]") for line in lines),
    }


def _node(one: dict[str, Any]) -> Evidence:
    conditions = {part["type"]: part["status"] for part in one["status"]["conditions"]}
    return {
        "name": one["metadata"]["name"],
        "ready": conditions.get("Ready") == "True",
        "kubeletVersion": one["status"]["nodeInfo"]["kubeletVersion"],
    }


def access(kubeconfig: bytes) -> tuple[int, ssl.SSLContext]:
    """Read the port of loopback and the credentials of the current user.

    Raises:
        ShopError: the cluster is elsewhere. LookupError, ValueError: it is no kubeconfig.
    """
    document = yaml.safe_load(kubeconfig)
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    server = urlsplit(cluster["server"])
    if server.hostname != "127.0.0.1" or server.port is None:
        raise ShopError("the cluster is not on loopback", where="the kubeconfig")
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    certificate = base64.b64decode(user["client-certificate-data"])
    _load(context, certificate + b"\n" + base64.b64decode(user["client-key-data"]))
    return server.port, context


def _load(context: ssl.SSLContext, chain: bytes) -> None:
    """Give the library a certificate and its key, which it takes from files alone."""
    memory = os.memfd_create("kubeconfig", os.MFD_CLOEXEC)
    try:
        os.write(memory, chain)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
