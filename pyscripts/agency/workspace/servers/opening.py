"""The forge's tools as a process: its token out of the environment, the forge opened, served."""

from __future__ import annotations

import os

from agency.errors import PrerequisiteError
from agency.forge import gitea_forge, gitlab_forge
from agency.secrets import SecretValue
from agency.workspace.servers.forging import TOKEN_VARIABLE, Checkout, Forging
from agency.workspace.servers.serving import serve


def take_token() -> SecretValue:
    """Take the token out of the environment, so that no child gets it.

    Raises:
        PrerequisiteError: it is not there.
    """
    token = os.environ.pop(TOKEN_VARIABLE, "").strip()
    if not token:
        raise PrerequisiteError(
            "the forge's token is missing",
            where=TOKEN_VARIABLE,
            hint="name it under `secrets` of this server in the Gosuto, and give it to the agent",
        )
    return SecretValue(token)


async def serve_forge(kind: str, url: str, project: str, checkout: Checkout | None) -> None:
    """Serve the tools of one project.

    Raises:
        PrerequisiteError: the token is missing.
    """
    token = take_token()
    opened = gitea_forge if kind == "gitea" else gitlab_forge
    async with opened(url, token.reveal()) as forge:
        await serve("agency-forge", Forging(forge, project, token, checkout).offers())
