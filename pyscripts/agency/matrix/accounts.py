"""Accounts of agents: those of the application service's namespace, and others that it invites.

Everything goes by the application service's own token, which reaches the namespace alone: it makes
an account, logs it in, ends its sessions and acts for it. An account outside it is its owner's: it
is invited and taken out like a person's.
Source: Matrix specification 1.11, "Application Service API", "Server admin style permissions".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.matrix.errors import AnswerError, MatrixError
from agency.matrix.findings import Finding
from agency.matrix.paths import client_path
from agency.matrix.rooms import is_agents_own, localpart
from agency.matrix.session import MatrixSession
from agency.matrix.view import RoomView

_DEVICE = "AGENCY"
_APPSERVICE = "m.login.application_service"

BringIn = Callable[[str, str, bool], Awaitable[list[Finding]]]


async def register_own(api: MatrixSession, user: str) -> None:
    """Make an account of the namespace where it is missing.

    Raises:
        MatrixError: the homeserver refused or did not answer.
    """
    body = {"type": _APPSERVICE, "username": localpart(user), "inhibit_login": True}
    try:
        await api.request("POST", client_path("register"), body)
    except MatrixError as error:
        if error.errcode != "M_USER_IN_USE":
            raise


async def log_in_device(api: MatrixSession, user: str, device: str, shown: str) -> str:
    """Log an account of the namespace in on a device; return the access token.

    Synapse leaves the older tokens of that device: whoever logs one of them out ends all.

    Raises:
        MatrixError: the homeserver refused or did not answer.
    """
    body = {
        "type": _APPSERVICE,
        "identifier": {"type": "m.id.user", "user": user},
        "device_id": device,
        "initial_device_display_name": shown,
    }
    answer = await api.request("POST", client_path("login"), body)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise AnswerError("the homeserver gives no token", where=user, status=200)
    return token


@dataclass(frozen=True, slots=True)
class AgentAccounts:
    """Keeper of the accounts of agents; `bring_in` has one join a room."""

    api: MatrixSession
    bot: str
    view: RoomView
    bring_in: BringIn

    def is_ours(self, user: str) -> bool:
        """Return whether the control plane may act for a user: one of the namespace."""
        return is_agents_own(user, self.bot)

    async def exists(self, user: str) -> bool:
        """Return whether the homeserver knows an account.

        Raises:
            MatrixError: it refused to say, or did not answer.
        """
        try:
            await self.api.request("GET", client_path("profile", user))
        except MatrixError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def register(self, user: str) -> None:
        """Make an account where it is missing.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        await register_own(self.api, user)

    async def show(self, user: str, display_name: str, avatar: str = "") -> None:
        """Give an account its name, and its picture if one is given, an `mxc://` address.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        wanted = {"displayname": display_name, **({"avatar_url": avatar} if avatar else {})}
        for key, value in wanted.items():
            path = client_path("profile", user, key)
            await self.api.request("PUT", path, {key: value}, as_user=user)

    async def admit(self, room: str, user: str) -> str:
        """Have an account join a room, or invite one that is not ours.

        Returns why it could not be brought in; empty if it could.

        Raises:
            MatrixError: the homeserver did not answer, or refuses the account.
        """
        now = (await self.view.look(room)).membership(user)
        if now == "join" or (now == "invite" and not self.is_ours(user)):
            return ""
        found = await self.bring_in(room, user, now == "invite")
        return found[0].text if found else ""

    async def log_in(self, user: str) -> str:
        """End an account's sessions, log it in and return its access token.

        Synapse leaves the tokens of a device when it is logged in again.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        await self.log_out(user)
        return await log_in_device(self.api, user, _DEVICE, "agency")

    async def log_out(self, user: str) -> None:
        """End every session of an account, however it was begun.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        await self.api.request("POST", client_path("logout", "all"), {}, as_user=user)

    async def dismiss(self, user: str, room: str | None) -> int:
        """Have an account leave every room that it is in; return their number.

        One that is not ours is taken out of `room`, the one that it was invited to.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        if not self.is_ours(user):
            return 0 if room is None else await self._take_out(room, user)
        try:
            joined = await self.api.request("GET", client_path("joined_rooms"), as_user=user)
        except MatrixError as error:
            if error.status == 403:  # there is no such account
                return 0
            raise
        await self.log_out(user)
        rooms = [str(each) for each in joined.get("joined_rooms", [])]
        for each in rooms:
            await self.api.request("POST", client_path("rooms", each, "leave"), {}, as_user=user)
        return len(rooms)

    async def _take_out(self, room: str, user: str) -> int:
        if (await self.view.look(room)).membership(user) not in ("join", "invite"):
            return 0
        body = {"user_id": user, "reason": "it is no agent here any more"}
        await self.api.request("POST", client_path("rooms", room, "kick"), body)
        return 1
