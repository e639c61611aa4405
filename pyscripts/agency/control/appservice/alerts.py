"""`POST /alerts`: the webhook of Alertmanager, which proves its identity by its bearer token.

Alertmanager delivers again what is answered by 5xx, and drops what is answered by 4xx.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from agency.control.alerts.delivery import MAX_BODY, MalformedAlertsError
from agency.control.alerts.intake import AlertIntake, BusyError
from agency.secrets import SecretValue
from agency.web import QuietLog, carries_bearer

ALERTS_PATH = "/alerts"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class AlertsPage:
    """The webhook: its token, and the intake behind it."""

    token: SecretValue
    intake: AlertIntake
    stopping: Callable[[], bool]
    _quiet: QuietLog = field(default_factory=lambda: QuietLog(_log))

    def check(self, request: web.Request) -> None:
        """Refuse a request before its body is read: by its token, then by the body's length.

        Raises:
            web.HTTPException: the token is missing or wrong, or the body is too large.
        """
        if not carries_bearer(request, self.token.reveal()):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        if request.content_length is None:
            raise web.HTTPLengthRequired
        if request.content_length > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take a delivery; the answer is 200 only when it is on disk."""
        if self.stopping():
            raise web.HTTPServiceUnavailable(reason="the control plane is ending")
        try:
            number = await self.intake.take(await request.read())
        except MalformedAlertsError as error:
            raise web.HTTPBadRequest(reason=_header(str(error))) from None
        except BusyError as error:
            raise web.HTTPServiceUnavailable(reason=str(error)) from None
        except SQLAlchemyError as error:
            self._quiet.warning("store", "cannot store alerts: %s", type(error).__name__, fields={})
            raise web.HTTPServiceUnavailable(reason="cannot be stored") from None
        return web.json_response({"told": number})


def _header(text: str) -> str:
    """Return text that a status line can hold."""
    return text.encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
