"""The bridge's port on loopback: `/hook` for the forge, `/metrics` and `/health` for this machine.

A call of the hook is believed only that there may be something new: it wakes a look at its project,
which reads the forge. So a call that is replayed, or one with a stolen secret, can do no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.forge import ForgeError, HookEvent, HookRefusedError, read_hook
from agency.recipes.bridge.numbers import Numbers, exposition
from agency.recipes.bridge.pacing import Bucket
from agency.recipes.record.runs import Runs
from agency.secrets import SecretValue
from agency.web import Limits, as_json, make_app, metrics_answer

LIMITS = Limits(body_bytes=1024 * 1024, body_s=10.0, answer_s=10.0)
STALE_S = 900.0  # without a good look at a project the bridge is not well
_RATE, _BURST = 10.0, 60.0  # calls of the hook a second, and at once


@dataclass(slots=True)
class Front:
    """Handlers. `wake` wakes the look at a project, by its path in lower case."""

    secret: SecretValue | None
    wake: Mapping[str, Callable[[], None]]
    numbers: Numbers
    runs: Runs
    clock: Clock
    _calls: Bucket = field(init=False)

    def __post_init__(self) -> None:
        self._calls = Bucket(_RATE, _BURST, self.clock.steady)

    def app(self) -> web.Application:
        """Make the application."""
        app = make_app(LIMITS, as_json, inner=[self._bounded])
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        if self.secret is not None:
            app.router.add_post("/hook", self._hook)
        return app

    @web.middleware
    async def _bounded(
        self, request: web.Request, handler: Callable[..., object]
    ) -> web.StreamResponse:
        """Refuse calls of the hook above the rate, before their body is read."""
        if request.path == "/hook" and not self._calls.take():
            self.numbers.hooks["limited"] += 1
            raise web.HTTPTooManyRequests(headers={"Retry-After": "1"})
        return await handler(request)  # type: ignore[misc, no-any-return]

    async def _hook(self, request: web.Request) -> web.Response:
        assert self.secret is not None
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            told = read_hook(headers, await request.read(), self.secret.reveal())
        except HookRefusedError:
            self.numbers.hooks["refused"] += 1
            raise web.HTTPForbidden(reason="not proved by the hook's secret") from None
        except ForgeError:
            self.numbers.hooks["refused"] += 1
            raise web.HTTPBadRequest(reason="an event that lacks a field") from None
        wake = None if told is None else self.wake.get(told.project.lower())
        if told is None or told.event is not HookEvent.COMMENT or wake is None:
            self.numbers.hooks["other"] += 1
        else:
            self.numbers.hooks["taken"] += 1
            wake()
        return web.Response(status=204)

    async def _health(self, _: web.Request) -> web.Response:
        age_s = round(self.numbers.oldest_look_s)
        told: dict[str, object] = {"ok": True, "hook": self.secret is not None}
        told |= {"projects": len(self.numbers.looked), "oldestLookSeconds": age_s}
        try:
            await self.runs.counts()
        except PrerequisiteError as error:
            told |= {"ok": False, "error": error.message}
        if age_s > STALE_S:
            told |= {"ok": False, "error": "the forge was not read for long"}
        return web.json_response(told, status=200 if told["ok"] else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        self.numbers.runs = await self.runs.counts()
        return metrics_answer(exposition(self.numbers))
