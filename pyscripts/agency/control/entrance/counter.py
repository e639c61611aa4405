"""Counter at which agents redeem leases: one socket for each agent, which nobody else reaches.

On a host the socket lies in a directory that systemd shows to that agent's unit alone, and the
kernel says which user asks. Each request carries the agent's own token besides: it is compared with
that of the process that the runtime started, so an agent that has ended redeems nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.entrance.connections import OpenConnections
from agency.control.entrance.listener import peer_uid
from agency.control.entrance.place import listen
from agency.control.runtimes.handover import cannot_write, make_private, open_redeem_place
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.vault.leases import Leases
from agency.errors import AgencyError
from agency.protocols import MAX_REDEMPTION, RedemptionAnswer, RedemptionRequest
from agency.secrets import SecretValue

_log = logging.getLogger(__name__)

_MOST = 64  # connections of one agent at a time: its largest offer
_REQUEST_S = 5.0
_MINUTE_S = 60.0
AGENT = "agent:"  # before its name, an agent as the audit log names it


@dataclass(slots=True)
class Counter:
    """Redeemer of the leases of one agent.

    `token` gives the token of the agent that runs now; `uid` is the user that may ask, if only one
    may.
    """

    agent: str
    leases: Leases
    clock: Clock
    token: Callable[[], str | None]
    new_trace: Callable[[], str]
    uid: int | None = None
    _open: OpenConnections = field(default_factory=OpenConnections)
    _refused: dict[str, float] = field(default_factory=dict)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own."""
        self._open.serve(self._serve(reader, writer), "redemption")

    async def close(self) -> None:
        """Close every connection."""
        await self._open.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                answer = await self._answer(reader, peer_uid(writer.get_extra_info("socket")))
                writer.write(answer.line())
                await writer.drain()
        except (OSError, TimeoutError):
            _log.info("a redemption had no end in time", extra={"fields": {"agent": self.agent}})
        except Exception as error:  # noqa: BLE001 - only its kind: it may quote what was read
            fields = {"agent": self.agent, "kind": type(error).__name__}
            _log.error("a redemption could not be answered", extra={"fields": fields})
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, uid: int) -> RedemptionAnswer:
        if len(self._open) > _MOST:
            return RedemptionAnswer(error="too many redemptions at once")
        if self.uid is not None and uid not in (self.uid, 0):
            return await self._refuse("this is the socket of another user", "")
        try:
            line = await reader.readuntil(b"\n")
            request = RedemptionRequest.model_validate_json(line)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValidationError):
            return RedemptionAnswer(error="not a redemption")
        present = self.token()
        given = request.agent_token.get_secret_value().encode(errors="surrogatepass")
        if present is None or not hmac.compare_digest(given, present.encode()):
            return await self._refuse("the token is not that of the agent that runs", request.lease)
        return await self._redeem(request)

    async def _redeem(self, request: RedemptionRequest) -> RedemptionAnswer:
        token = SecretValue(request.token.get_secret_value())
        try:
            value = await self.leases.redeem(self.agent, request.lease, token, self._entry)
        except AgencyError as error:
            return await self._refuse(error.message, request.lease)
        except SQLAlchemyError as error:
            _log.warning("cannot redeem a lease: %s", type(error).__name__)
            return RedemptionAnswer(error="the vault cannot be used now")
        return RedemptionAnswer(value=SecretStr(value.reveal()))

    def _entry(self, secret: str, version: int, lease: str) -> AuditEntry:
        detail = audit.audit_detail(version=version, lease=lease)
        return self._made(f"secret {secret}", Outcome.DONE, detail)

    async def _refuse(self, reason: str, lease: str) -> RedemptionAnswer:
        """Refuse, with an audit row: of each reason one in a minute, or an agent could fill it."""
        now = self.clock.steady()
        if now - self._refused.get(reason, -_MINUTE_S) >= _MINUTE_S:
            self._refused = {
                each: at for each, at in self._refused.items() if now - at < _MINUTE_S
            } | {reason: now}
            detail = audit.audit_detail(why=reason, lease=lease or None)
            entry = self._made("", Outcome.REFUSED, detail)
            database = self.leases.vault.database
            try:
                await database.write(lambda c: audit.append(c, self.clock, entry))
            except SQLAlchemyError as error:
                _log.warning("cannot record a refused redemption: %s", type(error).__name__)
        fields = {"agent": self.agent, "why": reason}
        _log.warning("refused a redemption", extra={"fields": fields})
        return RedemptionAnswer(error=reason)

    def _made(self, target: str, outcome: Outcome, detail: str) -> AuditEntry:
        actor = f"{AGENT}{self.agent}"
        return AuditEntry(self.new_trace(), actor, "secrets redeem", target, outcome, detail)


@contextlib.asynccontextmanager
async def serve(counter: Counter, path: Path, *, shown: bool) -> AsyncIterator[None]:
    """Serve an agent's socket; with `shown`, to another user, who is shown its directory alone.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    made = _listen(path, shown=shown)
    server = await asyncio.start_unix_server(counter.accept, sock=made, limit=MAX_REDEMPTION)
    try:
        yield
    finally:
        server.close()
        await counter.close()
        _forget(path)


def _listen(path: Path, *, shown: bool) -> socket.socket:
    if shown:
        open_redeem_place(path.parent)
    else:
        make_private(path.parent)
    made = listen(path)
    try:
        path.chmod(0o666 if shown else 0o600)
    except OSError as error:
        made.close()
        raise cannot_write(path, error) from error
    return made


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
