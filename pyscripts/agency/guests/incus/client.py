"""What a guest needs of Incus, one method a request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp

from agency.guests.incus import execution
from agency.guests.incus.errors import IncusError, is_missing
from agency.guests.incus.execution import Command, Streams
from agency.guests.incus.model import (
    Instance,
    InstanceSpec,
    Kind,
    Server,
    Usage,
    instance_from,
    server_from,
    usage_from,
)
from agency.guests.incus.transport import Transport, checked_answer
from agency.machine import Completed

_MAX_PULL = 16 * 1024 * 1024


class Incus:
    """One Incus. Open it with `async with`; every call is bounded in time."""

    def __init__(self, socket: Path) -> None:
        self._transport = Transport(socket)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._transport.__aexit__(*details)

    @property
    def socket(self) -> Path:
        """The socket it answers on."""
        return self._transport.socket

    async def server(self) -> Server:
        """Who answers, and what it can run."""
        return server_from(await self._transport.call("GET", "/1.0"))

    async def ready(self) -> bool:
        """Whether it has finished starting."""
        try:
            await self._transport.call("GET", "/internal/ready")
        except IncusError:
            return False
        return True

    async def configure(self, settings: Mapping[str, str]) -> None:
        """Set settings of the server."""
        await self._transport.call("PATCH", "/1.0", {"config": dict(settings)})

    async def pools(self) -> Mapping[str, str]:
        """Storage pools: name to driver."""
        raw = await self._transport.call("GET", "/1.0/storage-pools?recursion=1")
        return {pool["name"]: pool["driver"] for pool in raw or ()}

    async def create_pool(self, name: str, driver: str) -> None:
        """Make a storage pool."""
        body = {"name": name, "driver": driver, "config": {}}
        await self._transport.call("POST", "/1.0/storage-pools", body, where=f"pool {name}")

    async def root_pool_of_default_profile(self) -> str | None:
        """The pool that the default profile puts root disks on, if it does."""
        profile = await self._transport.call("GET", "/1.0/profiles/default")
        for device in profile["devices"].values():
            if device.get("type") == "disk" and device.get("path") == "/":
                return str(device["pool"])
        return None

    async def images(self) -> Mapping[str, Mapping[str, str]]:
        """Images: fingerprint to properties, in the order in which they were brought in."""
        raw = await self._transport.call("GET", "/1.0/images?recursion=1")
        ordered = sorted(raw or (), key=lambda image: str(image["uploaded_at"]))
        return {image["fingerprint"]: image["properties"] or {} for image in ordered}

    async def import_image(
        self, metadata: Path, rootfs: Path, *, kind: Kind = Kind.CONTAINER, timeout_s: float
    ) -> str:
        """Bring in an image (metadata tarball and root file system); returns its fingerprint."""
        where = f"image {rootfs.parent.name[:12]}"
        with metadata.open("rb") as described, rootfs.open("rb") as content:
            form = aiohttp.FormData()
            form.add_field("metadata", described, filename=metadata.name)
            # Incus takes the kind from the name of the part.
            part = "rootfs" if kind is Kind.CONTAINER else "rootfs.img"
            form.add_field(part, content, filename=rootfs.name)
            async with self._transport.request(
                "POST", "/1.0/images", timeout_s=timeout_s, where=where, data=form
            ) as answer:
                operation = (await checked_answer(answer, where))["metadata"]
        ended = await self._transport.finish(str(operation["id"]), timeout_s=timeout_s, where=where)
        return str(ended["metadata"]["fingerprint"])

    async def delete_image(self, fingerprint: str, *, timeout_s: float = 60) -> None:
        """Remove an image; one that is not there is no error."""
        where = f"image {fingerprint[:12]}"
        try:
            await self._transport.operate(
                "DELETE", f"/1.0/images/{fingerprint}", timeout_s=timeout_s, where=where
            )
        except IncusError as error:
            if not is_missing(error):
                raise

    async def instances(self) -> tuple[Instance, ...]:
        """Every instance of the default project, by name."""
        raw = await self._transport.call("GET", "/1.0/instances?recursion=1")
        return tuple(sorted((instance_from(one) for one in raw or ()), key=lambda one: one.name))

    async def instance(self, name: str) -> Instance | None:
        """One instance, or None."""
        try:
            return instance_from(await self._transport.call("GET", _path(name), where=name))
        except IncusError as error:
            if is_missing(error):
                return None
            raise

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> None:
        """Make an instance; it does not run yet."""
        await self._transport.operate(
            "POST", "/1.0/instances", spec.body(), timeout_s=timeout_s, where=spec.name
        )

    async def change_state(
        self, name: str, action: str, *, timeout_s: float, force: bool = False
    ) -> None:
        """Start, stop or restart an instance and wait until it is done."""
        body = {"action": action, "timeout": round(timeout_s), "force": force}
        await self._transport.operate(
            "PUT", f"{_path(name)}/state", body, timeout_s=timeout_s, where=name
        )

    async def delete(self, name: str, *, timeout_s: float) -> None:
        """Remove a stopped instance; one that is not there is no error."""
        try:
            await self._transport.operate("DELETE", _path(name), timeout_s=timeout_s, where=name)
        except IncusError as error:
            if not is_missing(error):
                raise

    async def set_labels(self, name: str, labels: Mapping[str, str]) -> None:
        """Set config keys user.agency.<key> of an instance; others stay."""
        config = {f"user.agency.{key}": value for key, value in labels.items()}
        await self._transport.call("PATCH", _path(name), {"config": config}, where=name)

    async def add_device(self, name: str, device: str, config: Mapping[str, str]) -> None:
        """Add a device to an instance, running or not."""
        body = {"devices": {device: dict(config)}}
        await self._transport.call("PATCH", _path(name), body, where=f"{name}: {device}")

    async def usage(self, name: str) -> Usage:
        """What an instance uses now."""
        return usage_from(await self._transport.call("GET", f"{_path(name)}/state", where=name))

    async def console_log(self, name: str, *, max_bytes: int = 64 * 1024) -> str:
        """The end of what the instance wrote on its console; empty where there is none."""
        path = f"{_path(name)}/console"
        async with self._transport.request("GET", path, where=name) as answer:
            if answer.status != 200:
                return ""
            return (await answer.read())[-max_bytes:].decode(errors="replace")

    async def exec(
        self, name: str, command: Command, *, stdin: bytes = b"", timeout_s: float
    ) -> Completed:
        """Run a program in an instance to its end; see `execution.run`."""
        return await execution.run(self._transport, name, command, stdin=stdin, timeout_s=timeout_s)

    def streams(self, name: str, command: Command) -> AbstractAsyncContextManager[Streams]:
        """Run a program in an instance with its streams open; leaving ends it."""
        return execution.open_streams(self._transport, name, command)

    async def pull(
        self,
        name: str,
        path: PurePosixPath,
        *,
        max_bytes: int = _MAX_PULL,
        timeout_s: float = 60,
    ) -> bytes:
        """Read a regular file of the instance.

        Raises:
            IncusError: it is not there, no regular file, or longer than `max_bytes`.
        """
        where = f"{name}:{path}"
        async with self._transport.request(
            "GET", _file(name, path), timeout_s=timeout_s, where=where
        ) as answer:
            if answer.status != 200:
                await checked_answer(answer, where)
                raise IncusError(f"HTTP status {answer.status}", where=where)
            if answer.headers.get("X-Incus-type") != "file":
                raise IncusError("not a regular file", where=where)
            data = bytearray()
            async for chunk in answer.content.iter_chunked(64 * 1024):
                data += chunk
                if len(data) > max_bytes:
                    raise IncusError(f"longer than {max_bytes} bytes", where=where)
        return bytes(data)


def _path(name: str) -> str:
    return f"/1.0/instances/{quote(name, safe='')}"


def _file(name: str, path: PurePosixPath) -> str:
    return f"{_path(name)}/files?{urlencode({'path': str(path)})}"
