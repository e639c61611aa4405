"""Answer to Prometheus: its text format."""

from __future__ import annotations

from aiohttp import hdrs, web

_TEXT = "text/plain; version=0.0.4"


def metrics_answer(exposition: bytes) -> web.Response:
    """Make the response that carries an exposition, as `prometheus_client` writes it."""
    return web.Response(body=exposition, headers={hdrs.CONTENT_TYPE: _TEXT})
