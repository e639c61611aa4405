"""Pulls of an app's images with a log-in, before abra deploys it."""

from __future__ import annotations

import re

import aiodocker

from agency.docker import DockerError, answers
from agency.errors import AgencyError, PrerequisiteError
from agency.recipes.registries import Login, full_name
from agency.secrets import REGISTRY_CREDENTIALS

_TIMEOUT_S = 900.0
_HINT = f"check the log-in: the secret {REGISTRY_CREDENTIALS}, or --registry-config"
# The registry's or the log-in's fault, not the recipe's.
_OF_THE_PLACE = re.compile(
    r"unauthorized|denied|no basic auth|authentication required|toomanyrequests|429|"
    r"connection refused|no such host|timeout",
    re.I,
)


async def pull(client: aiodocker.Docker, image: str, login: Login) -> None:
    """Pull an image.

    Raises:
        PrerequisiteError: the registry is not there, or refuses the log-in.
        AgencyError: it has no such image.
    """
    name = full_name(image)
    try:
        with answers(name):
            told = await client.images.pull(name, auth=login.auth(), timeout=_TIMEOUT_S)
    except DockerError as error:
        raise _refused(name, error.message) from error
    failed = next((str(one["error"]) for one in told if "error" in one), "")
    if failed:
        raise _refused(name, failed)


def _refused(name: str, told: str) -> AgencyError:
    message = f"cannot be pulled: {told}"
    if _OF_THE_PLACE.search(told):
        return PrerequisiteError(message, where=name, hint=_HINT)
    return AgencyError(message, where=name)
