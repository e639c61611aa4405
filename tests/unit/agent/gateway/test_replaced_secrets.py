"""Values of secrets that were replaced: struck out as long as a server has them, and no longer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_desk import until

from agency.agent.gateway.servers.acceptance import Acceptances
from agency.agent.gateway.servers.fence import Fence
from agency.agent.gateway.servers.servers import Servers
from agency.clock import Clock
from agency.errors import InternalError
from agency.gosuto import Document, read_document
from agency.secrets import SecretValue

OLD, NEW, NEWEST = "old-secret-value-123", "new-secret-value-456", "newest-secret-value-789"
TEXT = f"{OLD} {NEW} {NEWEST}"


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    found = Servers(tmp_path, Fence(frozenset()), Acceptances(tmp_path / "accepted.json"), Clock())
    yield found
    await found.close()


def document() -> Document:
    """One server, at an address where nobody listens, which gets the secret `key`."""
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "secrets": {"key": {"env": "KEY"}},
        "mcpServers": {"web": {"url": "http://127.0.0.1:9/mcp", "bearer": "key"}},
    }
    return read_document("test", json.dumps(told).encode())


def hold(servers: Servers, value: str) -> None:
    servers.hold({"key": SecretValue(value)})
    servers.apply(document())


def left(servers: Servers) -> str:
    return servers.redactor().redact(TEXT)


async def test_an_old_value_is_struck_out_until_its_server_is_gone(servers: Servers) -> None:
    hold(servers, OLD)
    first = servers._servers["web"]
    first.calls = 1  # a call is at hand
    hold(servers, NEW)
    second = servers._servers["web"]
    assert second is not first
    assert left(servers) == f"[***] [***] {NEWEST}"
    second.calls = 1
    hold(servers, NEWEST)
    assert left(servers) == "[***] [***] [***]"
    first.calls = 0
    await until(lambda: OLD in left(servers))
    assert left(servers) == f"{OLD} [***] [***]"
    second.calls = 0
    await until(lambda: NEW in left(servers))
    assert left(servers) == f"{OLD} {NEW} [***]"


async def test_a_value_that_no_server_had_is_forgotten_at_once(servers: Servers) -> None:
    servers.hold({"key": SecretValue(OLD)})
    servers.hold({"key": SecretValue(NEW)})
    assert left(servers) == f"[***] [***] {NEWEST}", "servers may have it until they are exchanged"
    servers.apply(document())
    assert left(servers) == f"{OLD} [***] {NEWEST}"


async def test_a_value_that_cannot_be_struck_out_changes_nothing(servers: Servers) -> None:
    hold(servers, OLD)
    with pytest.raises(InternalError):
        servers.hold({"key": SecretValue("x")})
    assert left(servers) == f"[***] {NEW} {NEWEST}"
    hold(servers, OLD)
    assert left(servers) == f"[***] {NEW} {NEWEST}"
