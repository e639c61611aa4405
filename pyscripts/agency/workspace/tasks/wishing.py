"""Wishes on their way from the forge, read by one user, to the list of an agent, another user."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agency import settings
from agency.files import write_atomically
from agency.forge import Forge, gitea_forge, gitlab_forge
from agency.secrets import SecretValue, read_credential
from agency.workspace.config import Part
from agency.workspace.tasks.intake import Taken, Wishes, collect, take
from agency.workspace.tasks.place import TaskPlace

TOKEN = "forge-token"  # noqa: S105 - the credential's name
_FILE = "wishes.json"
_MAX_BYTES = 1024 * 1024  # of a credential, systemd.exec(5)
_TIMEOUT_S = 60.0


class CollectSettings(Part):
    """Source of issues; an issue is for the agent if it has the label."""

    kind: Literal["gitea", "gitlab"]
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")]
    projects: Annotated[list[str], Field(min_length=1, max_length=50)]
    label: str = Field(default="agent:{agent}", min_length=1, max_length=100)


def read_token() -> SecretValue:
    """Read the forge's token from the unit's credentials."""
    return read_credential(TOKEN)


async def collect_to(agent: str, config: Path, output: Path, token: SecretValue) -> Wishes:
    """Collect the wishes of an agent into a file.

    Raises:
        ForgeError: the forge refuses or is silent; the old file stays.
    """
    import asyncio

    found = settings.load(config, CollectSettings)
    async with asyncio.timeout(_TIMEOUT_S), _forge(found, token) as forge:
        wishes = await collect(forge, found.projects, found.label.replace("{agent}", agent))
    data = wishes.model_dump_json().encode()
    while len(data) > _MAX_BYTES:  # the rest comes when these are closed
        wishes = Wishes(wishes=wishes.wishes[: len(wishes.wishes) // 2])
        data = wishes.model_dump_json().encode()
    write_atomically(output, data, mode=0o600)
    return wishes


@asynccontextmanager
async def _forge(found: CollectSettings, token: SecretValue) -> AsyncIterator[Forge]:
    opened = gitea_forge if found.kind == "gitea" else gitlab_forge
    async with opened(found.url, token.reveal()) as forge:
        yield forge


def wishes_file() -> Path | None:
    """Return the file of wishes among the unit's credentials, if there is one."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        return None
    file = Path(folder) / _FILE
    return file if file.exists() else None


def take_wishes(place: TaskPlace, file: Path) -> Taken:
    """Take the wishes of a file into the list.

    Raises:
        BadInputError: it holds no wishes. PrerequisiteError: it cannot be read.
    """
    data = settings.read_bounded(file, most=_MAX_BYTES, what="the wishes")
    if not data:
        return Taken(())
    return take(place, settings.parse(Wishes, data, where=str(file)).wishes)
