"""The dashboard as a server: its routes, its headers, its limits, from start to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from agency import __version__
from agency.clock import Clock
from agency.listening import Inherited, listen
from agency.recipes.configuration import RecipesConfig
from agency.recipes.dashboard.logs.streaming import Streams
from agency.recipes.dashboard.numbers import Numbers, exposition
from agency.recipes.dashboard.pages import Pages
from agency.recipes.dashboard.reading import Reading
from agency.recipes.dashboard.serving_files import Files
from agency.recipes.dashboard.verdicts import Verdicts
from agency.recipes.dashboard.views.rendering import assets
from agency.recipes.record.runs import RecordError, Runs, open_runs
from agency.signals import stop_signals
from agency.web import Limits, QuietLog, as_json, make_app, make_runner, metrics_answer
from agency.web import listen as serve_on

LIMITS = Limits(body_bytes=1024, shutdown_s=2.0, linger_s=1.0)
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-cache",
}

_log = logging.getLogger(__name__)
_quiet = QuietLog(_log)


class Dashboard:
    """Server of one record of runs."""

    def __init__(
        self, config: RecipesConfig, runs: Runs, clock: Clock, days: int, streams: Streams
    ) -> None:
        self.streams = streams
        self.numbers = Numbers(streams)
        self.clock = clock
        self.reading = Reading(config, runs, clock, days, Verdicts(runs))
        self.pages = Pages(self.reading)

    def app(self) -> web.Application:
        """Make the application."""
        app = make_app(LIMITS, self._refuse, outer=[self._counted()], inner=[_recorded()])
        self.pages.add_to(app)
        Files(self.pages, self.streams).add_to(app)
        for name, asset in assets().items():
            app.router.add_get(asset.path, _asset(name), name=name)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.on_response_prepare.append(_set_headers)
        app.on_shutdown.append(self._close)
        return app

    def _refuse(self, request: web.Request, status: int, reason: str) -> web.Response:
        if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
            return as_json(request, status, reason)
        response = self.pages.html("refusal", status=status, reason=reason)
        response.set_status(status)
        return response

    def _counted(self) -> Middleware:
        @web.middleware
        async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
            begun = self.clock.steady()
            response = await handler(request)
            streams = response.headers.get(hdrs.CONTENT_TYPE) == "text/event-stream"
            self.numbers.answered(response.status, 0 if streams else self.clock.steady() - begun)
            return response

        return counted

    async def _health(self, _: web.Request) -> web.StreamResponse:
        try:
            await self.reading.runs.counts()
        except RecordError as error:
            return web.json_response({"healthy": False, "reason": error.message}, status=503)
        return web.json_response({"healthy": True, "version": __version__})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        self.numbers.runs = await self.reading.runs.counts()
        return metrics_answer(exposition(self.numbers))

    async def _close(self, _: web.Application) -> None:
        self.streams.closing.set()


def _recorded() -> Middleware:
    @web.middleware
    async def recorded(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say that the record cannot be read, in place of an internal error."""
        try:
            return await handler(request)
        except RecordError as error:
            _quiet.warning("record", "the record of runs cannot be read: %s", error.message)
            raise web.HTTPServiceUnavailable(
                reason="the record of runs cannot be read now", headers={hdrs.RETRY_AFTER: "10"}
            ) from error

    return recorded


def _asset(name: str) -> Handler:
    async def asset(_: web.Request) -> web.StreamResponse:
        found = assets()[name]
        headers = {hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable"}
        return web.Response(
            body=found.data, content_type=found.content_type, charset="utf-8", headers=headers
        )

    return asset


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers[hdrs.SERVER] = f"agency-dashboard/{__version__}"


@asynccontextmanager
async def serving(
    config: RecipesConfig,
    clock: Clock,
    days: int,
    *,
    handed: Inherited | None = None,
    streams: Streams | None = None,
) -> AsyncIterator[Dashboard]:
    """Serve on loopback until the block ends.

    Raises:
        PrerequisiteError: the record cannot be opened, or the port is taken.
    """
    async with AsyncExitStack() as stack:
        runs = await stack.enter_async_context(open_runs(config.state, clock))
        dashboard = Dashboard(config, runs, clock, days, streams or Streams())
        await dashboard.reading.tallies.all()  # so that the first page is as quick as the others
        runner = make_runner(dashboard.app(), LIMITS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = config.ports.dashboard
        socket = (handed or Inherited()).take("127.0.0.1", port)
        await serve_on(runner, socket or listen(port, hint="end that program"))
        yield dashboard


async def serve(config: RecipesConfig, clock: Clock, days: int, handed: Inherited) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PrerequisiteError: the record cannot be opened, or the port is taken.
    """
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(config, clock, days, handed=handed):
        fields = {"port": config.ports.dashboard, "recipes": len(config.recipes)}
        _log.info("listening", extra={"fields": fields})
        await stopping.wait()
        _log.info("stopping")
