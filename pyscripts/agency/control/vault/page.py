"""The page behind a link: a form for one value, without scripts, and its answer.

A GET changes nothing, because clients fetch links to preview them. A POST must come from the page:
its form token belongs to a cookie of this browser, and what browsers say of its origin must agree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import iso
from agency.control.execution.result import RefusalError
from agency.control.vault.cipher import VaultError
from agency.control.vault.forms import FORM_PATH, Forms, UsedError
from agency.control.vault.rows import FormRow
from agency.control.vault.values import MAX_BYTES, SecretType
from agency.web import QuietLog

_log = logging.getLogger(__name__)

_MAX_BODY = 3 * MAX_BYTES + 4096  # a form writes a byte with three characters
_COOKIE = "agency-secret-form"
_FORM = "application/x-www-form-urlencoded"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}h1{font-size:1.4rem}dt{color:#555}dd{margin:0 0 .5rem}"
    "label{display:block;font-weight:600;margin:1rem 0 .3rem}"
    "input,textarea{width:100%;box-sizing:border-box;font:15px monospace;padding:.5rem;"
    "border:1px solid #777;border-radius:4px}textarea{min-height:10rem}"
    "button{font:inherit;margin-top:1rem;padding:.5rem 1.2rem;border:0;border-radius:4px;"
    "background:#0b5fa5;color:#fff}.wrong{color:#a40000;font-weight:600}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    # Not no-referrer: browsers would then send a form with the origin `null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_DOCUMENT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
<body><h1>{title}</h1>
{body}</body></html>
"""


@dataclass(slots=True)
class EntryPage:
    """The form.

    `base_url` is its address for people; `held_back` says why nothing may be changed now, if that
    is so.
    """

    forms: Forms
    base_url: str
    own_names: Callable[[web.Request], None]
    held_back: Callable[[], str | None] = lambda: None
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _quiet: QuietLog = field(default_factory=lambda: QuietLog(_log))

    def covers(self, request: web.Request) -> bool:
        """Return whether a request is for this page."""
        return request.path.startswith(FORM_PATH)

    def check(self, request: web.Request) -> None:
        """Refuse a request before its body is read: by its host, then by the body's length.

        Raises:
            web.HTTPException: it is under another name, or the body is too large.
        """
        public = urlsplit(self.base_url).netloc
        if request.headers.getall(hdrs.HOST, []) != [public]:
            self.own_names(request)
        if request.method == "POST" and request.content_length is None:
            raise web.HTTPLengthRequired
        length = request.content_length or 0
        if length > _MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(_MAX_BODY, length)

    def add_to(self, app: web.Application) -> None:
        """Serve the page."""
        app.router.add_get(f"{FORM_PATH}{{token}}", self.get, allow_head=False)
        app.router.add_post(f"{FORM_PATH}{{token}}", self.post)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show the form."""
        return await self._answered(request, self._show)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take the value."""
        return await self._answered(request, self._take)

    async def _answered(
        self, request: web.Request, answer: Callable[[web.Request], Awaitable[web.Response]]
    ) -> web.Response:
        try:
            return await answer(request)
        except UsedError as error:
            return _page(404, "This link leads nowhere", _text(error.message, error.hint))
        except VaultError as error:
            return _page(503, "The vault cannot be used", _text(error.message, error.hint))
        except SQLAlchemyError as error:
            # Only its type: its statement holds what was entered, encrypted, and its digest.
            kind = type(error).__name__
            self._quiet.warning("store", "cannot use the vault: %s", kind, fields={})
            text = "It is not known whether the value was stored; the room is told of it if so."
            return _page(503, "The store does not answer", _text(text, "Try again in a minute."))

    async def _show(self, request: web.Request, wrong: str = "") -> web.Response:
        token = request.match_info["token"]
        form = await self.forms.find(token)
        browser = request.cookies.get(_COOKIE, "")
        fresh = len(browser) != 43
        browser = secrets.token_urlsafe(32) if fresh else browser
        body = _form(form, self._form_token(token, browser), wrong)
        response = _page(422 if wrong else 200, f"Enter the value of {form.name}", body)
        if fresh:
            response.set_cookie(
                _COOKIE,
                browser,
                path=FORM_PATH,
                httponly=True,
                samesite="Strict",
                secure=self.base_url.startswith("https:"),
                max_age=900,
            )
        return response

    async def _take(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        if (why := self.held_back()) is not None:
            return _page(503, "Nothing was stored", _text(why, "The link still works."))
        if request.content_type != _FORM:
            return _page(415, "Not a form", _text("Open the link in a browser.", None))
        given = await request.post()
        value, form_token = given.get("value"), given.get("form")
        browser = request.cookies.get(_COOKIE, "")
        right = self._form_token(token, browser)
        from_here = isinstance(form_token, str) and hmac.compare_digest(
            form_token.encode(errors="surrogateescape"), right.encode()
        )
        if not from_here or not browser or not self._same_origin(request):
            text = "This did not come from the page behind the link. Open the link, and enter it."
            return _page(403, "Nothing was stored", _text(text, None))
        try:
            _form, secret = await self.forms.enter(token, value if isinstance(value, str) else "")
        except UsedError:
            raise
        except RefusalError as error:
            return await self._show(request, wrong=f"{error.message}.")
        text = f"The secret {secret.name} has version {secret.version} now; the link is used up."
        return _page(200, "Stored", _text(text, None))

    def _form_token(self, token: str, browser: str) -> str:
        said = f"{token}\0{browser}".encode(errors="surrogateescape")
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()

    def _same_origin(self, request: web.Request) -> bool:
        """Return whether what the browser says of the form's origin agrees with this page's."""
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = request.headers.get(hdrs.ORIGIN)
        if site != "same-origin":
            return False
        return origin is None or urlsplit(origin).netloc == request.host


def _form(form: FormRow, form_token: str, wrong: str) -> str:
    kind = SecretType(form.type)
    what = "a new secret" if form.version == 1 else f"version {form.version}"
    entry = (
        '<input id="value" name="value" type="password" autocomplete="off" required autofocus>'
        if kind.is_one_line
        else '<textarea id="value" name="value" autocomplete="off" spellcheck="false" required '
        "autofocus></textarea>"
    )
    told = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return (
        f"<dl><dt>Secret</dt><dd>{escape(form.name)}, {what}, of type {kind}</dd>"
        f"<dt>Asked for by</dt><dd>{escape(form.author)}</dd>"
        f"<dt>The link works until</dt><dd>{iso(form.expires_ts / 1000)}, once</dd></dl>{told}"
        f'<form method="post" autocomplete="off">'
        f'<input type="hidden" name="form" value="{form_token}">'
        f'<label for="value">Value</label>{entry}'
        "<button>Store it</button></form>"
        "<p>It is encrypted at once, and nobody can read it here again.</p>"
    )


def _text(text: str, hint: str | None) -> str:
    text = text[:1].upper() + text[1:]
    told = text if text.endswith(".") else f"{text}."
    return f"<p>{escape(told)}</p>" + (f"<p>{escape(hint)}</p>" if hint else "")


def _page(status: int, title: str, body: str) -> web.Response:
    text = _DOCUMENT.format(title=escape(title), style=_STYLE, body=body)
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)
