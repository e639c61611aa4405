"""The Docker Engine of this machine: opening it, and one kind of error for its refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiodocker
import aiohttp

from agency.errors import PrerequisiteError
from agency.reconcile.engine.contract import ReconcileError

DEFAULT_URL = "unix:///run/docker.sock"
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_START_DOCKER = "start it: systemctl start docker; see why not: journalctl -u docker"


class DockerError(ReconcileError):
    """The Docker Engine refused; `status` is that of HTTP."""

    def __init__(self, message: str, *, where: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status


@asynccontextmanager
async def docker_at(url: str) -> AsyncIterator[aiodocker.Docker]:
    """A client of the Docker Engine at `url`, with a time limit for every call.

    Raises:
        PrerequisiteError: nothing answers there.
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
    """Turn what can go wrong in a call of the Docker Engine into our errors."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == 900:  # aiodocker's own number for a socket that does not answer
            raise PrerequisiteError(error.message, where=where, hint=_START_DOCKER) from error
        raise DockerError(error.message, where=where, status=error.status) from error
    except TimeoutError as error:
        raise ReconcileError("the Docker Engine does not answer in time", where=where) from error
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
    """One call that aiodocker has no method for; returns the JSON that answers it."""
    query = client._query_json  # noqa: SLF001 - the library's only way to any other call
    return await query(path, method=method, params=params, data=data)


async def require_swarm(client: aiodocker.Docker, url: str) -> None:
    """See that this machine manages a swarm.

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
