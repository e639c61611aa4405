"""Secret in the conversation: its value enters by the one-time form, and an agent gets it by lease.

!agency secrets set ─▶ reply with a link ─▶ form ─▶ vault ─▶ lease by ACP ─▶ the agent redeems
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from agency.matrix import Person, client_path
from agency.secrets import SecretValue
from agency.spinup.record import Evidence
from agency.spinup.scenario.accounts import ConversationError
from agency.spinup.scenario.conversation import Conversation

_LINK = re.compile(r"(https?://[^\s/]+/secrets/enter/)([A-Za-z0-9_-]+)")
_FORM = re.compile(r'name="form" value="([0-9a-f]+)"')
_WAY = tuple(f"secrets {verb}" for verb in ("set", "enter", "bind", "redeem", "deliver"))
_HELD_S, _POLL_S = 20.0, 0.05
_PAGE_S = aiohttp.ClientTimeout(total=15.0)
_PAGES, _PAGE = 50, 200


@dataclass(slots=True)
class SecretTrial:
    """One secret from its form to the agent. `mark` is a text that may be found, unlike `value`."""

    talk: Conversation
    agent: str
    name: str = field(default_factory=lambda: f"spinup-{secrets.token_hex(4)}")
    value: SecretValue = field(default_factory=lambda: SecretValue(secrets.token_urlsafe(24)))
    mark: str = field(default_factory=lambda: f"canary-{secrets.token_hex(12)}")
    seen: Evidence = field(default_factory=dict)

    async def make(self) -> None:
        """Ask for the link, and enter the value at the page behind it; chat never has it."""
        text = f"!agency secrets set {self.name}"
        reply = await self.talk.ask("secret", text, ok=True, hide=_hidden)
        link = _LINK.search(reply.body)
        if link is None:
            raise ConversationError("no link in the reply", where=text)
        entered = await self._enter(link.group())
        self.seen = {"secret": self.name, "setId": reply.command, "entered": entered}

    async def _enter(self, link: str) -> Evidence:
        """Open the page as a browser does, and send its form.

        The address is the control plane's as it is reached from here; its name is the link's.
        """
        witness, public = self.talk.witness, urlsplit(link)
        url, host = f"{witness.control_url}{public.path}", {"Host": public.netloc}
        async with witness.session.get(
            url, headers=host, timeout=_PAGE_S, allow_redirects=False
        ) as page:
            form, cookies = _FORM.search(await page.text()), page.cookies
        if form is None:
            raise ConversationError("the link leads to no form", where="secrets set")
        kept = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
        headers = {**host, "Cookie": kept, "Sec-Fetch-Site": "same-origin"}
        data = {"value": self.value.reveal(), "form": form.group(1)}
        async with witness.session.post(
            url, data=data, headers=headers, timeout=_PAGE_S, allow_redirects=False
        ) as stored:
            status = stored.status
        async with witness.session.get(
            url, headers=host, timeout=_PAGE_S, allow_redirects=False
        ) as again:
            return {"by": "form", "status": status, "statusAgain": again.status}

    async def deliver(self) -> None:
        """Bind it to the agent, and wait until the agent itself says that it holds it."""
        text = f"!agency secrets bind {self.name} {self.agent}"
        bound = await self.talk.ask("bind", text, ok=True)
        held = await self._until_held()
        await self._until_on_record()
        self.seen |= {"agent": self.agent, "bindId": bound.command, "held": held}

    async def _until_held(self) -> Evidence:
        told = {"agent": self.agent, "trace": self.mark}
        async with _in_time(f"{self.agent} does not hold {self.name}"):
            while True:
                said = await self.talk.witness.observe("agents.status", told)
                if any(each["name"] == self.name for each in said["secrets"]):
                    return said
                await asyncio.sleep(_POLL_S)

    async def _until_on_record(self) -> None:
        """Wait for the row that the delivery leaves behind it."""
        async with _in_time("the delivery is not in the audit log"):
            while True:
                rows = await self.talk.witness.audit_rows(self.agent)
                if any(self._is_delivery(row) for row in rows):
                    return
                await asyncio.sleep(_POLL_S)

    def _is_delivery(self, row: Evidence) -> bool:
        return row["action"] == "secrets deliver" and self.name in str(row.get("held"))

    async def evidence(self, searched: Evidence) -> Evidence:
        """Return all that was seen, with the audit rows and the search for the value.

        Raises:
            ConversationError: no secret was made.
        """
        if not self.seen:
            raise ConversationError(
                "no secret was made: nobody could approve that it is erased again",
                hint="give the password of another operator or approver",
            )
        rows = await self.talk.witness.audit_rows(f"secret {self.name}", self.agent)
        of_it = [row for row in rows if row["action"] in _WAY]
        return {**self.seen, "mark": self.mark, "audit": of_it, "search": searched}


def _hidden(text: str) -> str:
    """Leave the token of a link out of what is put on record."""
    return _LINK.sub(r"\1...", text)


@contextlib.asynccontextmanager
async def _in_time(otherwise: str) -> AsyncIterator[None]:
    """Bound a wait; say what did not happen where it ends."""
    try:
        async with asyncio.timeout(_HELD_S):
            yield
    except TimeoutError as error:
        raise ConversationError(f"{otherwise} after {_HELD_S:g} s", where="secrets bind") from error


async def room_texts(person: Person, since_ms: int) -> list[str]:
    """Read every event since a moment in every room that a person is in, as text."""
    rooms = (await person.request("GET", client_path("joined_rooms")))["joined_rooms"]
    return [text for room in rooms for text in await _texts_of(person, str(room), since_ms)]


async def _texts_of(person: Person, room: str, since_ms: int) -> list[str]:
    texts: list[str] = []
    query = {"dir": "b", "limit": str(_PAGE)}
    for _ in range(_PAGES):
        path = client_path("rooms", room, "messages")
        page = await person.request("GET", path, query=query)
        fresh = [one for one in page["chunk"] if int(one["origin_server_ts"]) >= since_ms]
        texts += map(str, fresh)
        if len(fresh) < len(page["chunk"]) or not page["chunk"] or "end" not in page:
            return texts
        query["from"] = str(page["end"])
    raise ConversationError(f"more than {_PAGES * _PAGE} events to search", where=room)
