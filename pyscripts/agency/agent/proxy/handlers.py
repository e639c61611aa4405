"""HTTP interface of the proxy: both wire formats, the list of models, metrics.

Every path but `/live` needs a token; a caller without one learns nothing of what there is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from agency import __version__
from agency.agent.models.client import WireFormat
from agency.agent.proxy.calling import Caller
from agency.agent.proxy.config import Account, ProxyConfig
from agency.agent.proxy.counters import Counters, exposition
from agency.agent.proxy.gate import Gate
from agency.agent.proxy.identity import Tokens, owner, presented
from agency.agent.proxy.policy import Policies
from agency.agent.proxy.refusals import Refusal, error_body
from agency.agent.proxy.requests.planning import Plan, plan, read_request
from agency.web import Limits, QuietLog, lift_answer_limit, make_app, metrics_answer, request_key

PATHS: Mapping[str, WireFormat] = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
LIVE, METRICS, MODELS = "/live", "/metrics", "/v1/models"
_AGENT = request_key("agency.agent", str)
_METRICS_READER = ""
_LARGE = 64 * 1024

_REASONS: Mapping[int, str] = {401: "token", 408: "time", 413: "size", 503: "time"}

_log = logging.getLogger(__name__)
_quiet = QuietLog(_log)


def limits_of(config: ProxyConfig) -> Limits:
    """Return the limits of the server; calls have a limit of their own in place of `answer_s`."""
    return Limits(body_bytes=config.request_bytes, shutdown_s=1.0, linger_s=1.0)


@dataclass(frozen=True, slots=True)
class Handlers:
    """Handlers of one proxy."""

    config: ProxyConfig
    caller: Caller
    counters: Counters
    gate: Gate
    policies: Policies

    def app(self) -> web.Application:
        """Make the application."""
        app = make_app(limits_of(self.config), self._refuse, inner=[self._known()])
        for path in PATHS:
            app.router.add_post(path, self._call)
        app.router.add_get(MODELS, self._models)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(LIVE, self._live)
        app.on_response_prepare.append(_set_headers)
        return app

    def _known(self) -> Middleware:
        metrics = self.config.metrics_token_sha256
        fixed = {} if metrics is None else {_METRICS_READER: metrics}
        tokens = Tokens(self.config.accounts, fixed)

        @web.middleware
        async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == LIVE:
                return await handler(request)
            name = owner(presented(request), tokens.digests())
            # The reader of metrics is no agent, and agents do not read one another's numbers.
            if name is None or (name == _METRICS_READER) != (request.path == METRICS):
                _quiet.warning("token", "a caller without a valid token was refused")
                return self._refuse(request, 401, "a valid token is needed")
            request[_AGENT] = name
            return await handler(request)

        return known

    def _refuse(self, request: web.Request, status: int, reason: str) -> web.Response:
        told = {413: f"the request is larger than {self.config.request_bytes} bytes"}
        refusal = Refusal(status, _REASONS.get(status, "request"), told.get(status, reason))
        return self._refusal(request, refusal)

    def _refusal(self, request: web.Request, refusal: Refusal) -> web.Response:
        agent = request.get(_AGENT)
        if agent:
            self.counters.refused[agent, refusal.reason] += 1
            fields = {"agent": agent, "reason": refusal.reason, "status": refusal.status}
            _quiet.warning(f"{agent} {refusal.reason}", "a call was refused", fields=fields)
        body = error_body(PATHS.get(request.path, "openai"), refusal.reason, refusal.message)
        response = web.json_response(body, status=refusal.status)
        if refusal.retry_after_s is not None:
            response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_after_s)
        return response

    async def _call(self, request: web.Request) -> web.StreamResponse:
        agent, wire = request[_AGENT], PATHS[request.path]
        try:
            account = self.policies.account(agent, self.config.accounts[agent])
            with self.gate.passing(
                agent, per_minute=account.requests_per_minute, at_once=account.concurrent_requests
            ):
                made = await self._planned(agent, account, await request.read(), wire)
                self.counters.redacted[agent] += made.redacted
                lift_answer_limit()
                return await self.caller.call(request, agent, wire, made, account.budget())
        except Refusal as refusal:
            return self._refusal(request, refusal)

    async def _planned(self, agent: str, account: Account, raw: bytes, wire: WireFormat) -> Plan:
        def planned() -> Plan:
            body = read_request(raw)
            return plan(agent, account, body, wire, self.config, self.caller.redactor)

        # Redaction of a large text takes long, and the other agents' calls go on meanwhile.
        return planned() if len(raw) <= _LARGE else await asyncio.to_thread(planned)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        account = self.config.accounts[request[_AGENT]]
        models = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": self.config.models[name].provider,
            }
            for name in account.models
        ]
        return web.json_response({"object": "list", "data": models})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        return metrics_answer(exposition(self.counters))

    async def _live(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"live": True})


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = f"agency-proxy/{__version__}"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
