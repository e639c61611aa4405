"""Files that people sent to a room, read by the bot.

Source: Matrix specification 1.16, "m.file", "Matrix Content (mxc://) URIs", "GET
/_matrix/client/v1/media/download/{serverName}/{mediaId}", "GET /rooms/{roomId}/event/{eventId}".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.control.execution.result import RefusalError
from agency.matrix import Backoff, MatrixError, MatrixSession, client_path

_TRIES = 3
_TIMEOUT_S = 10.0
_MEDIA = re.compile(r"mxc://([^/?#\s]{1,255})/([A-Za-z0-9_~.-]{1,255})\Z")
_HOW = "send the document as a file, and the command as a reply to it"


@dataclass(slots=True)
class RoomFiles:
    """Reader of files of the homeserver `domain`, of at most `most` bytes."""

    api: MatrixSession
    as_user: str
    domain: str
    most: int
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.25, longest_s=2.0))
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def read(self, room_id: str, event_id: str, sender: str) -> bytes:
        """Read the file that `sender` sent as an event of a room.

        Raises:
            RefusalError: the event is no file of theirs that can be read.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._read(room_id, event_id, sender)
            except MatrixError as error:
                if not error.may_pass or attempt == _TRIES:
                    raise RefusalError(f"the file could not be read: {error.message}") from error
                await self.sleep(self.backoff.delay_s(attempt, error.retry_after_s))
        raise AssertionError("unreachable")

    async def _read(self, room_id: str, event_id: str, sender: str) -> bytes:
        path = client_path("rooms", room_id, "event", event_id)
        event = await self.api.request("GET", path, as_user=self.as_user, timeout_s=_TIMEOUT_S)
        media = media_of(event, sender, self.domain, self.most)
        path = client_path("media", "download", self.domain, media, version="v1")
        return await self.api.request_bytes(
            path, most=self.most, as_user=self.as_user, timeout_s=_TIMEOUT_S
        )


def media_of(event: Mapping[str, Any], sender: str, domain: str, most: int) -> str:
    """Return the media id of the file that an event holds.

    Raises:
        RefusalError: it holds none of `sender` that is readable here, or one that is too large.
    """
    content = event.get("content")
    is_file = event.get("type") == "m.room.message" and isinstance(content, dict)
    if not is_file or not isinstance(content, dict) or content.get("msgtype") != "m.file":
        raise RefusalError("the message that this is a reply to is no file", hint=_HOW)
    if event.get("sender") != sender:
        raise RefusalError(f"the file is not yours, but {event.get('sender')}'s", hint=_HOW)
    info, url = content.get("info"), content.get("url")
    size = info.get("size") if isinstance(info, dict) else None
    if isinstance(size, int) and size > most:
        raise RefusalError(f"the file has {size} bytes, and a document has at most {most}")
    found = _MEDIA.match(url) if isinstance(url, str) else None
    if found is None or found[1] != domain:
        raise RefusalError("the file is encrypted, or not on this homeserver", hint=_HOW)
    return found[2]
