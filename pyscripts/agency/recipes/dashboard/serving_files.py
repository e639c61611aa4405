"""Handlers of what a run left: its logs as text and as streams, its files, each within bounds."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from aiohttp import hdrs, web

from agency.recipes.dashboard.files import IMAGES, LOGS, Found, RunFiles, log_path
from agency.recipes.dashboard.logs.pieces import MOST_PIECE, plain_text, read_raw
from agency.recipes.dashboard.logs.streaming import Reader, Streams, follow, offset
from agency.recipes.dashboard.pages import Pages, or_not_found
from agency.web import lift_answer_limit

MOST_DOWNLOADS = 16
_CHUNK = 256 * 1024
_WRITE_S = 30.0
_TAIL = 64 * 1024


@dataclass(slots=True)
class Files:
    """Handlers of logs and files."""

    pages: Pages
    streams: Streams
    downloads: int = 0

    def add_to(self, app: web.Application) -> None:
        """Serve them. What streams has no answer to HEAD."""
        run, log = "{run:[^/.]{1,40}}", "{log:[^/.]{1,80}}"
        app.router.add_get(f"/runs/{run}/logs/{log}.txt", self.text, allow_head=False)
        app.router.add_get(f"/runs/{run}/logs/{log}/events", self.events, allow_head=False)
        app.router.add_get(f"/runs/{run}/files/{{path:.{{1,1000}}}}", self.file, allow_head=False)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream a log from a byte on; without one, from near its end."""
        run, files = await self.pages.shown_files(request)
        log, at = request.match_info["log"], offset(request)
        size = (await or_not_found(partial(read_raw, files, log, 0, 0))).size
        reader = Reader(files, log, max(0, size - _TAIL) if at is None else at)
        ended = partial(self.pages.reading.ended, run.id)
        return await follow(request, self.streams, reader, ended)

    async def text(self, request: web.Request) -> web.StreamResponse:
        """Send a whole log as text that a terminal may be given."""
        _, files = await self.pages.shown_files(request)
        log = request.match_info["log"]
        await or_not_found(partial(read_raw, files, log, 0, 0))
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/plain; charset=utf-8"})
        return await self._sent(request, response, _Text(files, log))

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Send a file; logs have a form of their own."""
        _, files = await self.pages.shown_files(request)
        path = request.match_info["path"]
        if path.startswith(f"{LOGS}/"):
            raise web.HTTPNotFound(reason="no such file")
        with ExitStack() as stack:
            opened = partial(stack.enter_context, files.open(path))
            file, found = await or_not_found(opened)
            response = web.StreamResponse(headers=_headers(found))
            response.content_length = found.size
            return await self._sent(request, response, _Bytes(file, found.size))

    async def _sent(
        self, request: web.Request, response: web.StreamResponse, source: _Text | _Bytes
    ) -> web.StreamResponse:
        """Send a source piece by piece, to a bounded number of clients that go on reading."""
        if self.downloads >= MOST_DOWNLOADS:
            raise web.HTTPServiceUnavailable(
                reason="too many files are sent now", headers={hdrs.RETRY_AFTER: "5"}
            )
        self.downloads += 1
        lift_answer_limit()
        try:
            await response.prepare(request)
            while data := await asyncio.to_thread(source.next):
                async with asyncio.timeout(_WRITE_S):
                    await response.write(data)
        except (TimeoutError, ConnectionError):
            request.protocol.force_close()
        finally:
            self.downloads -= 1
        return response


@dataclass(slots=True)
class _Bytes:
    """A file up to the size that was announced; a shorter one is filled, for its length is told."""

    file: int
    size: int
    at: int = 0

    def next(self) -> bytes:
        most = min(_CHUNK, self.size - self.at)
        data = os.pread(self.file, most, self.at)
        self.at += len(data)
        return data


@dataclass(slots=True)
class _Text:
    """A log as plain text, up to the size that it had at the first read."""

    files: RunFiles
    log: str
    size: int | None = None
    at: int = 0

    def next(self) -> bytes:
        with self.files.open(log_path(self.log)) as (file, found):
            self.size = found.size if self.size is None else self.size
            data = os.pread(file, min(MOST_PIECE, max(0, self.size - self.at)), self.at)
        text, length = plain_text(data)
        self.at += length
        return text.encode(errors="replace") or (b"" if not data else self.next())


def _headers(found: Found) -> dict[str, str]:
    text = found.content_type in ("text/plain", "application/json")
    how = "inline" if text or found.kind in IMAGES else "attachment"
    name = quote(found.path.rpartition("/")[2], safe="")
    return {
        hdrs.CONTENT_TYPE: found.content_type + ("; charset=utf-8" if text else ""),
        hdrs.CONTENT_DISPOSITION: f"{how}; filename*=UTF-8''{name}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
