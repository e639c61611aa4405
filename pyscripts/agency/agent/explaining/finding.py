"""Files of an agent's policy on this machine: the proxy's configuration, and what it names."""

from __future__ import annotations

from pathlib import Path

from agency.agent.explaining.effective import Offered
from agency.agent.gateway.servers.acceptance import Acceptances
from agency.agent.proxy.config import ProxyConfig
from agency.canonical import sha256_hex
from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.gosuto import Document, read_canonical, read_document
from agency.paths import state_dir
from agency.settings import read_bounded

_MAX_DOCUMENT = 512 * 1024
_ACCEPTED = "accepted.json"


def local_config() -> Path:
    """Find the proxy's configuration of the local agency.

    Raises:
        PrerequisiteError: there is none.
    """
    found = sorted(
        (state_dir() / "local").glob("*/models/proxy.json"), key=lambda each: each.stat().st_mtime
    )
    if not found:
        raise PrerequisiteError(
            "there is no local agency with models",
            where=str(state_dir() / "local"),
            hint="start one with `agency up`, or name the proxy's configuration with --config",
        )
    return found[-1]


def gosuto_of(agent: str, config: ProxyConfig) -> Path:
    """Return the file of the Gosuto that an agent's gateway holds.

    Raises:
        UsageError: the agent has no account. PrerequisiteError: its account names none.
    """
    account = config.accounts.get(agent)
    if account is None:
        known = ", ".join(sorted(config.accounts)) or "nobody"
        raise UsageError(
            f"{agent} has no account at the proxy", hint=f"a program is there for: {known}"
        )
    if account.gosuto is None:
        raise PrerequisiteError(f"the account of {agent} names no Gosuto", hint="give --gosuto")
    return account.gosuto


def read_policy(agent: str, file: Path, *, held: bool, slot: bool = False) -> Document:
    """Read a Gosuto: the one that a gateway holds, or a person's file.

    In a slot it is that of the agent there, whatever its name.

    Raises:
        AgencyError: it cannot be read, is invalid, or is another agent's.
    """
    if held and not file.exists():
        raise PrerequisiteError(
            f"{agent} has no Gosuto yet, so it makes no call and hears nobody",
            where=str(file),
            hint=f"hand one in: agency do gosuto set {agent} --attach=FILE; and start the agent",
        )
    content = read_bounded(file, most=_MAX_DOCUMENT, what="the Gosuto")
    if held:
        document = read_canonical(content, sha256_hex(content))
    else:
        document = read_document(str(file), content)
    if document.metadata.name != agent and not slot:
        raise BadInputError(
            f"this is the Gosuto of {document.metadata.name}, not of {agent}", where=str(file)
        )
    return document


def offers_of(document: Document, held: Path) -> tuple[Offered, ...]:
    """Return what each server of a document offered when its list was accepted."""
    kept = Acceptances(held.with_name(_ACCEPTED))
    return tuple(Offered(name, kept.names(name)) for name in sorted(document.mcp_servers))
