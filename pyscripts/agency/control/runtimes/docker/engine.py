"""Calls of the runtime to its Docker Engine; each raises AgencyError alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiodocker
import aiohttp

from agency.control.runtimes.base import AgentRuntimeError, Usage
from agency.control.runtimes.docker.container import (
    LABEL_AGENT,
    LABEL_INSTANCE,
    Identity,
    Seen,
    refusals,
    seen_container,
    usage_of,
)
from agency.control.runtimes.docker.settings import DockerSettings
from agency.docker import DockerError, answers, call
from agency.errors import PrerequisiteError

_TIMEOUT_S = 60.0
_STOP_GRACE_S = 30.0  # for the engine itself, beyond the agent's own time
_UNIX = "unix://"
_ABSENT, _CONFLICT = 404, 409
# One directory for sockets; whoever fills it harms nobody else.
_IN_MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,nr_inodes=16,mode=1777"}
_MAKE_IMAGE = "`make agent-image` makes it, and prints the lines for instance.yaml"


class Engine:
    """The engine at one Unix socket, and its containers of one instance.

    Calls share no limit on connections: a wait for each container's end takes one.
    """

    def __init__(self, settings: DockerSettings, instance: str) -> None:
        self._settings, self._instance = settings, instance
        self._url = settings.url
        self._client: aiodocker.Docker | None = None
        self._session: aiohttp.ClientSession | None = None

    def identity(self, agent: str, part: str = "") -> Identity:
        """Return the names of an agent, or of a part of it, at this engine."""
        return Identity(self._instance, agent, part)

    async def check(self) -> None:
        """Check that the engine holds what is asked of it, and has the image.

        Raises:
            PrerequisiteError: it does not answer, cannot hold agents, or lacks the image.
            AgentRuntimeError: the image's name belongs to another image.
        """
        async with self._calling() as client:
            info = await client.system.info()
        if reasons := refusals(info):
            raise PrerequisiteError(
                f"the Docker Engine cannot hold agents: {'; '.join(reasons)}",
                where=self._url,
                hint="let it use its default seccomp profile, and give it the cgroup controllers "
                "memory, cpu and pids; `docker info` shows both",
            )
        found = await self._image_id(self._settings.image)
        if found != self._settings.image_id:
            raise AgentRuntimeError(
                f"the image {self._settings.image} is {found}, not {self._settings.image_id}",
                where=self._url,
                hint="if the new image is right, set its id as docker.imageId in instance.yaml; "
                "else tag the old one again",
            )

    async def _image_id(self, name: str) -> str:
        try:
            async with self._calling() as client:
                return str((await client.images.inspect(name))["Id"])
        except DockerError as error:
            if error.status != _ABSENT:
                raise
            raise PrerequisiteError(
                f"the image {name} is not on this machine", where=self._url, hint=_MAKE_IMAGE
            ) from error

    async def find(self, agent: str, part: str = "") -> Seen | None:
        """Return an agent's container, or None; one of somebody else with its name is not its."""
        identity = self.identity(agent, part)
        try:
            async with self._calling() as client:
                path = f"containers/{identity.container}/json"
                seen = seen_container(await call(client, "GET", path))
        except DockerError as error:
            if error.status == _ABSENT:
                return None
            raise
        return seen if identity.owns(seen.labels) else None

    async def names(self) -> tuple[str, ...]:
        """Return the agents that have a container of this instance, by name."""
        labels = f'["{LABEL_INSTANCE}={self._instance}"]'
        async with self._calling() as client:
            params = {"all": "true", "filters": f'{{"label":{labels}}}'}
            found = await call(client, "GET", "containers/json", params=params)
        return tuple(sorted({str(each["Labels"].get(LABEL_AGENT, "")) for each in found}))

    async def create(self, agent: str, config: Mapping[str, Any], part: str = "") -> str:
        """Create an agent's volume, if it has none, and its container; return the container's id.

        Raises:
            AgentRuntimeError: a container or a volume of somebody else has the name.
        """
        identity = self.identity(agent, part)
        await self._volume(identity, identity.volume)
        try:
            async with self._calling() as client:
                made = await client.containers.create(dict(config), name=identity.container)
        except DockerError as error:
            if error.status == _CONFLICT:
                raise _taken("container", identity.container, self._url) from error
            raise
        return made.id

    async def share(self, agent: str, name: str) -> None:
        """Create a volume in memory, for sockets that containers of an agent share.

        Raises:
            AgentRuntimeError: a volume of somebody else has the name.
        """
        await self._volume(self.identity(agent), name, _IN_MEMORY)

    async def _volume(
        self, identity: Identity, name: str, options: Mapping[str, str] | None = None
    ) -> None:
        wanted = {"Name": name, "Labels": identity.labels, "DriverOpts": dict(options or {})}
        async with self._calling() as client:
            volume = await call(client, "POST", "volumes/create", data=wanted)
        if not identity.owns(volume.get("Labels")):
            raise _taken("volume", name, self._url)

    async def start(self, container: str) -> None:
        """Start a container."""
        async with self._calling() as client:
            await client.containers.container(container).start()

    async def stop(self, container: str, grace_s: int) -> None:
        """Send SIGTERM to a container, and SIGKILL after the grace time; wait for its end."""
        timeout = aiohttp.ClientTimeout(total=grace_s + _STOP_GRACE_S)
        with _absent_is_fine():
            async with self._calling() as client:
                await client.containers.container(container).stop(t=grace_s, timeout=timeout)

    async def remove(self, container: str) -> None:
        """Remove a container, and kill it first if it runs; its volume stays."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        with _absent_is_fine():
            async with self._calling() as client:
                await client.containers.container(container).delete(force=True, timeout=timeout)

    async def remove_volume(self, agent: str, name: str) -> None:
        """Remove a volume of an agent with all that it kept; one of somebody else is left alone."""
        identity = self.identity(agent)
        path = f"volumes/{name}"
        with _absent_is_fine():
            async with self._calling() as client:
                volume = await call(client, "GET", path)
                if identity.owns(volume.get("Labels")):
                    await call(client, "DELETE", path)

    async def wait(self, container: str) -> None:
        """Wait for a container's end, without a time limit."""
        async with self._calling() as client:
            await client.containers.container(container).wait(timeout=aiohttp.ClientTimeout())

    async def log(self, container: str, lines: int) -> tuple[str, ...]:
        """Return the last lines of a container's log; empty if it is gone."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with self._calling() as client:
                texts = await client.containers.container(container).log(
                    stdout=True, stderr=True, tail=lines, timeout=timeout
                )
        except DockerError as error:
            if error.status in (_ABSENT, _CONFLICT):
                return ()
            raise
        return tuple("".join(texts).splitlines())

    async def usage(self, container: str) -> Usage:
        """Return what a container uses now."""
        params = {"stream": "false", "one-shot": "true"}
        async with self._calling() as client:
            stats = await call(client, "GET", f"containers/{container}/stats", params=params)
        return usage_of(stats)

    async def close(self) -> None:
        """Close the connections."""
        client, session = self._client, self._session
        self._client = self._session = None
        if client is not None:
            await client.close()
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[aiodocker.Docker]:
        with answers(self._url):
            if self._client is None:
                connector = aiohttp.UnixConnector(self._url.removeprefix(_UNIX), limit=0)
                timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
                self._session = aiohttp.ClientSession(
                    connector=connector, timeout=timeout, trust_env=False
                )
                self._client = aiodocker.Docker(
                    f"{_UNIX}localhost", session=self._session, timeout=timeout
                )
            yield self._client


@contextmanager
def _absent_is_fine() -> Iterator[None]:
    """Run a block that may find its container gone."""
    try:
        yield
    except DockerError as error:
        if error.status != _ABSENT:
            raise


def _taken(kind: str, name: str, url: str) -> AgentRuntimeError:
    return AgentRuntimeError(
        f"a {kind} of somebody else has the name {name}",
        where=url,
        hint=f"look at it: docker {kind} inspect {name}; it has not this agent's labels, and was "
        "left alone",
    )
