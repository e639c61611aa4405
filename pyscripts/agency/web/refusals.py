"""Refusals as JSON for programs and as a page for people."""

from __future__ import annotations

from html import escape

from aiohttp import hdrs, web

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {reason}</title><h1>{reason}</h1><p>HTTP {status}</p></html>
"""


def as_json(_: web.Request, status: int, reason: str) -> web.Response:
    """Refuse with `{"error": reason}`."""
    return web.json_response({"error": reason}, status=status)


def as_wanted(request: web.Request, status: int, reason: str) -> web.Response:
    """Refuse with a page where the client asks for HTML, else with JSON."""
    if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return as_json(request, status, reason)
    page = _PAGE.format(status=status, reason=escape(reason))
    headers = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=page, status=status, content_type="text/html", headers=headers)
