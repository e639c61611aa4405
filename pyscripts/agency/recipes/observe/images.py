"""Images that an app's containers run, and the version that its labels tell."""

from __future__ import annotations

import json
from typing import Any

import aiodocker

from agency.coopcloud import NAMESPACE, Stack
from agency.docker import answers, call
from agency.recipes.facts import MAX_SERVICES, DeployedImage

_SERVICE = "com.docker.swarm.service.name"


async def running_images(
    client: aiodocker.Docker, url: str, stack: str
) -> tuple[DeployedImage, ...]:
    """List what runs of a stack, one row a service and image."""
    found: dict[tuple[str, str], DeployedImage] = {}
    for row in await containers(client, url, stack):
        service = service_of(row, stack)
        key = (service, row["ImageID"])
        if key not in found and len(found) < MAX_SERVICES:
            digest = await _digest(client, url, row["ImageID"])
            found[key] = DeployedImage(service, row["Image"], row["ImageID"], digest)
    return tuple(sorted(found.values(), key=lambda one: (one.service, one.id)))


async def version_label(stack: Stack) -> str:
    """Return the version of the recipe that the labels of its services tell; empty without one."""
    label = f"coop-cloud.{stack.name}.version"
    told = (service.labels.get(label, "") for service in await stack.services())
    return next((one for one in told if one), "")


async def containers(client: aiodocker.Docker, url: str, stack: str) -> list[dict[str, Any]]:
    """List the running containers of a stack."""
    query = {"filters": json.dumps({"label": [f"{NAMESPACE}={stack}"]})}
    with answers(url):
        rows: list[dict[str, Any]] = await call(client, "GET", "containers/json", params=query)
    return rows


def service_of(row: dict[str, Any], stack: str) -> str:
    """Return the name of a container's service in the compose file."""
    return str(row["Labels"].get(_SERVICE, "")).removeprefix(f"{stack}_")


async def _digest(client: aiodocker.Docker, url: str, image: str) -> str:
    """Return the digest by which a registry knows the image; empty for one made here."""
    with answers(url):
        told = await call(client, "GET", f"images/{image}/json")
    digests = [str(one).partition("@")[2] for one in told.get("RepoDigests") or []]
    return next(iter(digests), "")
