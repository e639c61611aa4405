"""Probes of GitLab, its registry and its runners.

Versions and runners are told to who has a token: the administrator's, which GitLab makes for its
bootstrap. It is sent to loopback alone, and is in no evidence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from agency.secrets import SecretValue
from agency.settings import read_bounded
from agency.spinup.probes.probe import Here, probe
from agency.spinup.probes.shop.client import Client, Ports, Reply, ShopError, service
from agency.spinup.probes.shop.frame import frame
from agency.spinup.record import Evidence

TOKEN = Path("/run/gitlab-admin-token/token")
GITLAB_UNITS = (
    "gitlab.service",
    "gitlab-workhorse.service",
    "gitlab-sidekiq.service",
    "gitaly.service",
)
_MAX_TOKEN = 1024
_CHALLENGE = re.compile(r'(?P<name>[a-z]+)="(?P<value>[^"]*)"')


class Forge(Ports):
    """Address of GitLab, and the file with its administrator's token."""

    token: Path = TOKEN


@probe("shop.gitlab", Forge)
async def gitlab(here: Here, told: Forge) -> Evidence:
    """Ask GitLab for its health, its readiness check by check, and its version."""
    seen = await frame(here, *GITLAB_UNITS)
    async with service(told.of("gitlab")) as client:
        health = await client.get("/-/health")
        readiness = await client.get("/-/readiness?all=1")
        version = await _asked(client, "/api/v4/version", told.token)
    return {
        **seen,
        "health": health.seen,
        "readiness": {**readiness.seen, "checks": _checks(readiness)},
        "version": version["version"],
        "revision": version["revision"],
    }


def _checks(reply: Reply) -> dict[str, str]:
    """Read GitLab's checks; of several of one kind, the first that is not ok."""
    found = {}
    for name, results in reply.json().items():
        if name.endswith("_check"):
            words = [str(result["status"]) for result in results]
            found[name] = next((word for word in words if word != "ok"), words[0])
    return found


@probe("shop.runner", Forge)
async def runner(here: Here, told: Forge) -> Evidence:
    """List the runners that GitLab knows, with what it says of each."""
    seen = await frame(here, "gitlab-runner.service")
    async with service(told.of("gitlab")) as client:
        listed = await _asked(client, "/api/v4/runners/all?per_page=100", told.token)
    return {
        **seen,
        "runners": [
            {
                "id": one["id"],
                "description": one["description"],
                "status": one["status"],
                "paused": one["paused"],
                "runnerType": one["runner_type"],
            }
            for one in listed
        ],
    }


async def _asked(client: Client, path: str, file: Path) -> Any:
    hint = "`systemctl start gitlab-admin-token` makes it anew"
    data = read_bounded(file, most=_MAX_TOKEN, what="GitLab's token", hint=hint)
    token = SecretValue(data.decode().strip())
    reply = await client.get(path, {"PRIVATE-TOKEN": token.reveal()})
    if reply.status != 200:
        raise ShopError(f"answers {reply.status} to its administrator", where=reply.url)
    return reply.json()


@probe("shop.registry", Ports)
async def registry(here: Here, told: Ports) -> Evidence:
    """Ask the registry as a stranger: it must say where to get a token."""
    seen = await frame(here, "docker-registry.service")
    async with service(told.of("registry")) as client:
        reply = await client.get("/v2/")
    challenge = reply.headers.get("WWW-Authenticate", "")
    said = {match["name"]: match["value"] for match in _CHALLENGE.finditer(challenge)}
    return {
        **seen,
        **reply.seen,
        "apiVersion": reply.headers.get("Docker-Distribution-Api-Version"),
        "realm": said.get("realm"),
        "service": said.get("service"),
    }
