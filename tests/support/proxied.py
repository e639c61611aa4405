"""A metering proxy with its configuration, in this process or as a program, and a raw caller."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from agency.agent.proxy.accounting.ledger import Ledger, open_ledger
from agency.agent.proxy.calling import Caller, Record
from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.counters import Counters
from agency.agent.proxy.gate import Gate
from agency.agent.proxy.handlers import Handlers
from agency.agent.proxy.policy import Policies
from agency.agent.proxy.requests.redacting import RequestRedactor
from agency.agent.proxy.upstream import Upstream, open_session
from agency.clock import Clock
from agency.secrets import Redactor, SecretValue

TOKENS = {name: f"token-of-{name}-for-tests" for name in ("pm", "developer", "metrics")}
PROVIDER_KEY = "the-key-that-the-provider-knows"
HELD = "a-value-that-the-proxy-holds"
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def settings(url: str, database: Path, **more: Any) -> dict[str, Any]:
    """Settings with both formats; `account` changes the account of pm."""
    account = more.pop("account", {})
    price = {"input": 1.0, "output": 2.0, "cacheRead": 0.5, "cacheWrite": 1.25}
    plain = {
        "models": ["small", "claude"],
        "tokensPerDay": 100_000,
        "usdPerDay": 10.0,
        "requestsPerMinute": 1000,
        "concurrentRequests": 50,
    }
    provider = {"url": url, "credential": "provider-key"}
    return {
        "port": 20999,
        "database": str(database),
        "providers": {
            "one": {**provider, "format": "openai"},
            "two": {**provider, "format": "anthropic"},
        },
        "models": {
            "small": {"provider": "one", "price": price, "maxOutputTokens": 1000},
            "claude": {
                "provider": "two",
                "price": price,
                "upstream": "claude-9",
                "maxOutputTokens": 1000,
            },
        },
        "accounts": {
            "pm": {**plain, "tokenSha256": digest(TOKENS["pm"]), **account},
            "developer": {**plain, "tokenSha256": digest(TOKENS["developer"]), "models": ["small"]},
        },
        "redact": ["held"],
        "metricsTokenSha256": digest(TOKENS["metrics"]),
        **more,
    }


def configured(url: str, database: Path, **more: Any) -> ProxyConfig:
    return ProxyConfig.model_validate_json(json.dumps(settings(url, database, **more)))


@dataclass
class Said:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json["error"]["message"]

    @property
    def code(self) -> str:
        return self.json["error"].get("code") or self.json["error"]["type"]


@dataclass
class Proxied:
    """A running proxy; `records` are what the audit log would be told."""

    url: str
    ledger: Ledger
    counters: Counters
    session: aiohttp.ClientSession
    records: list[Record] = field(default_factory=list)

    async def ask(
        self, wire: str = "openai", *, who: str = "pm", headers: Any = None, **body: Any
    ) -> Said:
        model = "small" if wire == "openai" else "claude"
        whole = {
            "model": model,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
            **body,
        }
        sent = json.dumps({key: value for key, value in whole.items() if value is not ...})
        return await self.post(PATHS[wire], sent, who=who, headers=headers)

    async def post(self, path: str, body: Any, *, who: str = "pm", headers: Any = None) -> Said:
        if headers is None:
            headers = {"Authorization": f"Bearer {TOKENS[who]}"}
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            return Said(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def get(self, path: str, who: str | None) -> Said:
        headers = {} if who is None else {"Authorization": f"Bearer {TOKENS[who]}"}
        async with self.session.get(self.url + path, headers=headers) as answer:
            return Said(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def settled(self, number: int = 1) -> Record:
        """Wait until so many calls are settled; return the last."""
        async with asyncio.timeout(10):
            while len(self.records) < number:  # noqa: ASYNC110 - of another task, in its own time
                await asyncio.sleep(0.01)
        return self.records[-1]


@asynccontextmanager
async def proxied(
    url: str, directory: Path, *, clock: Clock | None = None, **more: Any
) -> AsyncIterator[Proxied]:
    """Run a proxy in this process, on a free port, before a scripted model at `url`."""
    clock = clock or Clock()
    config = configured(url, directory / "ledger.db", **more)
    keys = {"provider-key": SecretValue(PROVIDER_KEY), "held": SecretValue(HELD)}
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(config.database, clock))
        upstream = await stack.enter_async_context(open_session(config.idle_s))
        gate = Gate(clock)
        counters = Counters(gate)
        records: list[Record] = []
        caller = Caller(
            config,
            ledger,
            Upstream(upstream, keys, config.answer_bytes),
            counters,
            RequestRedactor(Redactor(keys.values())),
            clock,
            records.append,
        )
        app = Handlers(config, caller, counters, gate, Policies(config.models)).app()
        server = await stack.enter_async_context(TestServer(app, host="127.0.0.1"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Proxied(f"http://127.0.0.1:{server.port}", ledger, counters, session, records)
