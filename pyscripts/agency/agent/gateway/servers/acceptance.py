"""Tool lists that were accepted, so that a server that changes what it says is cut off.

The first list of a server is accepted with the Gosuto that names the server: people approved that.
Another list of the same server, by one letter of a description, waits for a person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from agency.agent.gateway.calls.tools import ToolOffer, list_digest
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.settings import read_bounded

_MAX_BYTES = 4 * 1024 * 1024


class Accepted(BaseModel):
    """Accepted facts of one server: how it is reached, its list, and the digest of each tool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: str
    list_sha256: str
    tools: dict[str, str]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: dict[str, Accepted] = {}


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of tools that came, went, or say something else."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def text(self) -> str:
        """Say it for a person, in ASCII, with a bound."""
        parts = {"added": self.added, "removed": self.removed, "changed": self.changed}
        told = {name: list(names[:20]) for name, names in parts.items() if names}
        return json.dumps(told, ensure_ascii=True)[:4000]


class Acceptances:
    """Accepted lists, in a file of the gateway's state directory."""

    def __init__(self, path: Path) -> None:
        """Read them.

        Raises:
            BadInputError: the file cannot be read. Then nothing is taken for accepted.
        """
        self._path = path
        self._servers: dict[str, Accepted] = {}
        if path.exists():
            data = read_bounded(path, most=_MAX_BYTES, private=True)
            try:
                self._servers = dict(_File.model_validate_json(data).servers)
            except ValidationError:
                raise BadInputError(
                    "the list of accepted tools cannot be read",
                    where=str(path),
                    hint="look at the tools of every server, then move the file away",
                ) from None

    def known(self, server: str, spec: str) -> Accepted | None:
        """Return what was accepted of a server that is reached in this way."""
        found = self._servers.get(server)
        return found if found is not None and found.spec == spec else None

    def names(self, server: str) -> tuple[str, ...] | None:
        """Return the names of the tools of a server's accepted list; None if it has none."""
        found = self._servers.get(server)
        return None if found is None else tuple(sorted(found.tools))

    def accept(self, server: str, spec: str, offers: tuple[ToolOffer, ...]) -> None:
        """Accept a list."""
        self._servers[server] = Accepted(
            spec=spec, list_sha256=list_digest(offers), tools=_digests(offers)
        )
        data = _File(servers=self._servers).model_dump_json().encode()
        write_atomically(self._path, data, mode=0o600)


def difference(accepted: Accepted, offers: tuple[ToolOffer, ...]) -> Difference:
    """Compare a list with the accepted one."""
    now, then = _digests(offers), accepted.tools
    return Difference(
        tuple(sorted(now.keys() - then.keys())),
        tuple(sorted(then.keys() - now.keys())),
        tuple(sorted(name for name in now.keys() & then.keys() if now[name] != then[name])),
    )


def _digests(offers: tuple[ToolOffer, ...]) -> Mapping[str, str]:
    return {each.name: each.digest for each in offers}
