"""Redemption of leases, at the socket that the control plane made for this agent."""

from __future__ import annotations

import logging
from pathlib import Path

from agency.agent.held_secrets import Redeem
from agency.errors import AgencyError
from agency.protocols import SecretLease, redeem
from agency.secrets import SecretValue

_log = logging.getLogger(__name__)


def redeemer(socket: str | None, token: str) -> Redeem | None:
    """Make what exchanges a lease for its value; None for an agent without a socket.

    `token` is the agent's own, by which it proves itself.
    """
    if socket is None:
        return None
    path = Path(socket)

    async def exchange(lease: SecretLease) -> SecretValue:
        try:
            value = await redeem(path, lease.id, lease.token, token)
        except AgencyError as error:
            fields = {"secret": lease.name, "version": lease.version, "why": error.message}
            _log.warning("a secret could not be redeemed", extra={"fields": fields})
            raise
        return SecretValue(value.get_secret_value())

    return exchange
