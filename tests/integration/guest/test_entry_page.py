"""The page where a secret is entered, in a real Chromium, over TLS as behind the edge."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from vaulting import CANARY, Safe, wanted

from agency.clock import Clock
from agency.control.store import audit, schema
from agency.control.vault.forms import Forms
from agency.control.vault.page import EntryPage
from agency.spinup.targets.incus.parts.edge.browser import Browser, Route, browsing
from agency.spinup.targets.incus.parts.edge.certificate import make_certificates
from agency.store import migrate, open_database
from agency.web import Limits, make_app
from agency.web.refusals import as_json

DOMAIN = "agency.example"
URL = f"https://element.{DOMAIN}"  # one of the names that this browser knows


class Site:
    """The page in a browser."""

    def __init__(self, safe: Safe, forms: Forms, browser: Browser, place: Path) -> None:
        self.safe, self.forms, self.browser, self.place = safe, forms, browser, place

    async def open(self, **changes: Any) -> str:
        link = await self.forms.link(wanted(**changes), "t-asked")
        await self.browser.open(link)
        return link

    async def send(self) -> str:
        """Press the button; return the title of the page that comes.

        Nothing is asked of the page while it goes: the browser would not answer.
        """
        before = len(self.browser.answers)
        press = "setTimeout(() => document.querySelector('button').click(), 100)"
        await self.browser.evaluate(press)
        async with asyncio.timeout(20):
            while len(self.browser.answers) == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        return await self.browser.until_not("document.title", ("",))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = open_database(f"sqlite+aiosqlite:///{tmp_path / 'control.db'}")
    await migrate(database, schema.SCHEMA)
    clock = Clock()
    await database.write(lambda c: audit.open_log(c, "test", clock))
    safe = Safe(database, clock)

    def refuse_name(_request: web.Request) -> None:
        raise web.HTTPMisdirectedRequest

    forms = Forms(
        safe.vault(), URL, lambda: f"link-{next(safe.numbers)}-{'x' * 32}", safe.speaker()
    )
    page = EntryPage(forms, URL, refuse_name)

    @web.middleware
    async def checked(request: web.Request, handler: Any) -> web.StreamResponse:
        page.check(request)
        answer: web.StreamResponse = await handler(request)
        return answer

    app = make_app(Limits(body_bytes=1024 * 1024), as_json, inner=[checked])
    page.add_to(app)
    certificates = make_certificates(DOMAIN, datetime.now(UTC))
    for name, text in (("chain", certificates.chain), ("key", certificates.key)):
        (tmp_path / name).write_text(text)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    runner = web.AppRunner(app)
    await runner.setup()
    served = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await served.start()
    port = runner.addresses[0][1]
    try:
        route = Route(DOMAIN, port, certificates.authority)
        async with browsing(route, tmp_path / "home") as browser:
            yield Site(safe, forms, browser, tmp_path)
    finally:
        await runner.cleanup()
        await database.close()


async def test_a_person_enters_a_value_of_several_lines(site: Site) -> None:
    link = await site.open()
    # Neither the style nor the form is refused by the page's own policy.
    styled = "getComputedStyle(document.querySelector('button')).backgroundColor"
    assert await site.browser.evaluate(styled) == "rgb(11, 95, 165)"
    assert await site.browser.evaluate("document.cookie") == ""
    await site.browser.fill("#value", f"{CANARY}\nline two")
    assert await site.send() == "Stored"
    await site.safe.vault().bind("github", "pm", "@alice:x.org")
    (value,) = await site.safe.vault().values_of("pm")
    assert value.reveal() == f"{CANARY}\nline two"
    # Opened again it leads nowhere.
    await site.browser.open(link)
    assert await site.browser.evaluate("document.title") == "This link leads nowhere"


async def test_a_value_of_one_line_is_hidden_and_a_wrong_one_told(site: Site) -> None:
    await site.open(type="api-key")
    assert await site.browser.evaluate("document.querySelector('#value').type") == "password"
    await site.browser.fill("#value", "two words")
    assert await site.send() == "Enter the value of github"
    said = await site.browser.evaluate("document.querySelector('[role=alert]').textContent")
    assert "holds a space" in said
    assert await site.browser.evaluate("document.querySelector('#value').value") == ""
    await site.browser.fill("#value", CANARY)
    assert await site.send() == "Stored"


async def test_no_script_runs_there(site: Site) -> None:
    await site.open(author="@<img src=x onerror=document.title='run'>:x.org")
    assert await site.browser.evaluate("document.title") == "Enter the value of github"
    assert await site.browser.evaluate("document.querySelectorAll('img,script').length") == 0
    added = (
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); return window.ran === undefined })()"
    )
    assert await site.browser.evaluate(added) is True
