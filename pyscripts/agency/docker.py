"""Docker client: a connection to an engine, and one error type for its refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiodocker
import aiohttp

from agency.errors import AgencyError, PrerequisiteError

DEFAULT_URL = "unix:///run/docker.sock"
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_START_DOCKER = "start it: systemctl start docker; see why not: journalctl -u docker"


class DockerError(AgencyError):
    """A call that the Docker Engine refused (`status`: the HTTP status) or left unanswered."""

    def __init__(self, message: str, *, where: str, status: int | None) -> None:
        super().__init__(message, where=where)
        self.status = status


@asynccontextmanager
async def docker_at(url: str) -> AsyncIterator[aiodocker.Docker]:
    """Open a client of the Docker Engine at `url`, with a time limit for every call.

    Raises:
        PrerequisiteError: no engine answers there.
    """
    with answers(url):
        client = aiodocker.Docker(url, timeout=_TIMEOUT)
        try:
            await client.version()
            yield client
        finally:
            await client.close()


@contextmanager
def answers(where: str) -> Iterator[None]:
    """Translate the failures of a Docker Engine call into AgencyError types."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == 900:  # aiodocker's own number for a socket that does not answer
            raise PrerequisiteError(error.message, where=where, hint=_START_DOCKER) from error
        raise DockerError(error.message, where=where, status=error.status) from error
    except TimeoutError as error:
        raise DockerError(
            "the Docker Engine does not answer in time", where=where, status=None
        ) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise PrerequisiteError(
            f"no Docker Engine answers: {error}", where=where, hint=_START_DOCKER
        ) from error


async def call(
    client: aiodocker.Docker,
    method: str,
    path: str,
    *,
    params: dict[str, str] | None = None,
    data: dict[str, Any] | None = None,
) -> Any:
    """Make one call that aiodocker has no method for; return the answer's JSON."""
    query = client._query_json  # noqa: SLF001 - the library's only way to any other call
    return await query(path, method=method, params=params, data=data)


async def require_swarm(client: aiodocker.Docker, url: str) -> None:
    """Check that this machine manages a swarm.

    Raises:
        PrerequisiteError: it does not.
    """
    with answers(url):
        info = await client.system.info()
    if not info.get("Swarm", {}).get("ControlAvailable", False):
        raise PrerequisiteError(
            "this machine does not manage a swarm",
            where=url,
            hint="run `agency reconcile swarm-init` first",
        )
