"""`.mcp.json` of an agent's home, as command-line agents read it.

It names the agent's gateway and nothing behind it: the servers that the agent is given are the
gateway's to start, so that every call is decided and recorded. The token is named by the variable
that holds it, never written. What else the agent put into the file stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agency import guarded
from agency.canonical import once_each
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.guarded import Kind

FILE = ".mcp.json"
SERVER = "agency"
TOKEN_VARIABLE = "AGENCY_GATEWAY_TOKEN"  # noqa: S105 - the variable's name
_SERVERS = "mcpServers"


def entry(url: str) -> dict[str, Any]:
    """Return how the gateway is reached."""
    bearer = f"Bearer ${{{TOKEN_VARIABLE}}}"
    return {"type": "http", "url": url, "headers": {"Authorization": bearer}}


def configure(home: Path, url: str) -> bool:
    """Write the gateway into the file; return whether anything changed.

    Raises:
        BadInputError: what is there is no such file. PrerequisiteError: it cannot be written.
    """
    path = home / FILE
    hint = "mend it, or move it away: it is then made anew"
    with guarded.directory(home) as inside:
        seen = guarded.look(inside, FILE)
        data = guarded.read(inside, FILE)
    if seen.kind not in {Kind.ABSENT, Kind.FILE}:
        raise BadInputError(f"{seen.kind.value} is in its place", where=str(path), hint=hint)
    told = {} if data is None else _parse(data, path, hint)
    servers = told.setdefault(_SERVERS, {})
    if not isinstance(servers, dict):
        raise BadInputError(f"{_SERVERS} is no mapping", where=str(path), hint=hint)
    if servers.get(SERVER) == entry(url):
        return False
    servers[SERVER] = entry(url)
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode(), mode=0o600)
    return True


def _parse(data: bytes, path: Path, hint: str) -> dict[str, Any]:
    if len(data) > guarded.MAX_BYTES:
        raise BadInputError(f"larger than {guarded.MAX_BYTES} bytes", where=str(path), hint=hint)
    try:
        told = json.loads(data, object_pairs_hook=once_each)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not JSON: {error}", where=str(path), hint=hint) from None
    if not isinstance(told, dict):
        raise BadInputError("no mapping", where=str(path), hint=hint)
    return told
