"""Relay between one tool server and the browser: a session of its own, which ends with it.

    tool server ─ id 7 ─▶ Client ─ id 4211, sessionId ROOT ─▶ pipe ─▶ Chromium
    tool server ◀─ id 7 ── Client ◀─ id 4211, sessionId ROOT ── pipe

The browser outlives who drives it. So each gets a session of the browser's own; when it goes, the
session is detached, with all that hangs on it, and the next one begins as with a new browser.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.workspace.browser.pipe import Message, Pipe

MOST_WAITING = 10_000
# A tool server uses the browser of the agent; it neither ends it, nor makes another beside it, in
# which profile, extensions and the list of origins would not hold.
REFUSED = frozenset(
    {
        "Browser.close",
        "Browser.crash",
        "Browser.crashGpuProcess",
        "Target.attachToBrowserTarget",
        "Target.createBrowserContext",
        "Target.exposeDevToolsProtocol",
        "Target.sendMessageToTarget",  # a command within a command, which nobody looked at
        "Target.setRemoteLocations",
    }
)
_REFUSED_PREFIX = "Extensions."


@dataclass(slots=True)
class Client:
    """Session of one tool server; `root` is the browser's name for it."""

    pipe: Pipe
    root: str
    _ids: dict[int, int] = field(default_factory=dict)

    def refusal(self, message: Message) -> Message | None:
        """Return the answer to a command that is not handed on; None for others. Pure."""
        method, number = message.get("method"), message.get("id")
        if not isinstance(number, int) or not isinstance(method, str):
            return {"id": None, "error": {"code": -32600, "message": "is no command"}}
        text = ""
        if method in REFUSED or method.startswith(_REFUSED_PREFIX):
            text = f"{method} is not for tool servers"
        elif len(self._ids) >= MOST_WAITING:
            text = "too many commands wait for their answer"
        if not text:
            return None
        answer: Message = {"id": number, "error": {"code": -32000, "message": text}}
        if "sessionId" in message:
            answer["sessionId"] = message["sessionId"]
        return answer

    def to_browser(self, message: Message) -> Message:
        """Return a command as the browser gets it."""
        number = self.pipe.take_number()
        self._ids[number] = message["id"]
        return {"sessionId": self.root, **message, "id": number}

    def to_client(self, message: Message) -> Message | None:
        """Return what the browser says as the tool server gets it; None if it is not for it."""
        if "id" in message:
            known = self._ids.pop(message["id"], None)
            if known is None:
                return None  # an answer to one that is gone
            message = {**message, "id": known}
        elif "sessionId" not in message:
            return None  # an event of our own session
        if message.get("sessionId") == self.root:
            message = {key: value for key, value in message.items() if key != "sessionId"}
        return message


async def begin(pipe: Pipe) -> Client:
    """Begin a session.

    Raises:
        BrowserError: the browser refuses, or is gone.
    """
    result = await pipe.call("Target.attachToBrowserTarget")
    return Client(pipe, str(result["sessionId"]))


async def end(client: Client) -> None:
    """End a session, and all that hangs on it.

    Raises:
        BrowserError: the browser refuses, or is gone.
    """
    await client.pipe.call("Target.detachFromTarget", sessionId=client.root)
