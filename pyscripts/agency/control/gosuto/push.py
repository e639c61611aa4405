"""Delivery of a document to a running agent, behind one port."""

from __future__ import annotations

from typing import Protocol

from agency.control.execution.result import RefusalError


class ConfigPush(Protocol):
    """The port: `PUT /v1/config` of the agent control protocol."""

    async def apply(self, agent: str, document: bytes, sha256: str, trace: str) -> bool:
        """Have a running agent hold a document; return whether it held another before.

        Raises:
            AgencyError: it does not run, does not answer, or refuses the document.
        """


class NoPush:
    """The port of a control plane whose agents take no documents."""

    async def apply(self, agent: str, document: bytes, sha256: str, trace: str) -> bool:  # noqa: ARG002 - the port's shape
        """Refuse.

        Raises:
            RefusalError: always.
        """
        raise RefusalError(
            f"{agent} takes no Gosuto: this version of the agent has no call for it",
            hint="the document is kept; push it again after an upgrade",
        )
