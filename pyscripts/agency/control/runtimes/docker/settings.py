"""Settings of the runtime `docker`, a part of control.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agency import naming
from agency.settings import Strict


def _whole(pattern: str) -> str:
    return f"^({pattern})$"


class DockerSettings(Strict):
    """The engine, the one image that its agents run, and the limits of each agent.

    `image` is for people; `image_id` decides. If the name belongs to another image at a start, the
    start is refused.
    """

    # An engine on another machine could not mount the sockets of this one.
    url: Annotated[str, Field(pattern=r"^unix:///.+$")] = "unix:///run/docker.sock"
    image: Annotated[str, Field(pattern=_whole(naming.IMAGE_NAME_PATTERN), max_length=255)]
    image_id: Annotated[str, Field(pattern=_whole(naming.IMAGE_ID_PATTERN))]
    memory_mib: int = Field(default=1024, ge=64, le=1024 * 1024)
    cpus: float = Field(default=1.0, gt=0, le=1024)
    pids: int = Field(default=256, ge=16, le=32768)
    tmp_mib: int = Field(default=64, ge=1, le=64 * 1024)
