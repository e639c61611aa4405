"""The page behind a link, served as the control plane serves it: used once, and by its own form."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from vaulting import CANARY, Safe, wanted

from agency.clock import Clock
from agency.control.appservice.access import OwnNames
from agency.control.vault.forms import Forms
from agency.control.vault.page import EntryPage
from agency.web import Limits, make_app
from agency.web.refusals import as_json

Served = TestClient[web.Request, web.Application]
COOKIE = "agency-secret-form"


class Site:
    """The page, and a browser that has seen it."""

    def __init__(self, safe: Safe, client: Served, page: EntryPage, told: list[str]) -> None:
        self.safe, self.client, self.page, self.told = safe, client, page, told

    async def link(self, **changes: Any) -> str:
        made = await self.page.forms.link(wanted(**changes), "t-asked")
        return made.removeprefix(self.page.base_url)

    async def opened(self, path: str) -> str:
        """Open a link; return the form's own token."""
        async with self.client.get(path) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            found = re.search(r'name="form" value="([0-9a-f]+)"', text)
            assert found is not None
            return found[1]

    async def enter(
        self, path: str, value: str = CANARY, form: str = "", **headers: str
    ) -> tuple[int, str]:
        data = {"value": value, "form": form}
        named = {key.replace("_", "-"): text for key, text in headers.items()}
        async with self.client.post(path, data=data, headers=named) as answer:
            return answer.status, await answer.text()

    async def versions(self) -> dict[str, int]:
        return {each.secret.name: each.secret.version for each in await self.safe.vault().listed()}


@pytest.fixture
async def site(safe: Safe) -> AsyncIterator[Site]:
    told: list[str] = []

    speaker = safe.speaker(lambda queued: told.append(queued.message.content["body"]))
    forms = Forms(safe.vault(), "", lambda: f"link-{next(safe.numbers)}-{'x' * 32}", speaker)
    page = EntryPage(forms, "", OwnNames("127.0.0.1").check)

    @web.middleware
    async def checked(request: web.Request, handler: Any) -> web.StreamResponse:
        page.check(request)
        answer: web.StreamResponse = await handler(request)
        return answer

    app = make_app(Limits(body_bytes=1024 * 1024), as_json, inner=[checked])
    page.add_to(app)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        page.base_url = f"http://127.0.0.1:{client.port}"
        yield Site(safe, client, page, told)


async def test_a_value_is_entered_once(site: Site) -> None:
    path = await site.link()
    form = await site.opened(path)
    status, text = await site.enter(path, f"{CANARY}\r\nline two\r\n", form)
    assert (status, "github has version 1 now" in text) == (200, True)
    assert site.told == await site.safe.notices()
    assert [said.split(", at ")[0] for said in site.told] == [
        "github has version 1 now: a value was entered by the link that @alice:x.org asked for"
    ]
    assert CANARY not in text + site.told[0]
    await site.safe.vault().bind("github", "pm", "@alice:x.org")
    (value,) = await site.safe.vault().values_of("pm")
    assert value.reveal() == f"{CANARY}\nline two"
    for again in (await site.enter(path, "another value", form), await site.enter(path)):
        assert again[0] in (403, 404)
    async with site.client.get(path) as answer:
        assert answer.status == 404
        assert "used, has expired, or never was one" in await answer.text()
    assert await site.versions() == {"github": 1}


async def test_two_who_enter_at_once_are_one(site: Site) -> None:
    path = await site.link()
    form = await site.opened(path)
    done = await asyncio.gather(*(site.enter(path, f"value-{n}-long", form) for n in range(5)))
    assert sorted(status for status, _ in done) == [200, 404, 404, 404, 404]
    assert await site.versions() == {"github": 1}


async def test_it_lasts_ten_minutes(site: Site, held: Any) -> None:
    path = await site.link()
    held.seconds += 599
    form = await site.opened(path)
    held.seconds += 1
    assert (await site.enter(path, form=form))[0] == 404
    assert await site.versions() == {}


async def test_a_newer_link_ends_the_one_before(site: Site) -> None:
    first, second = await site.link(), await site.link()
    form = await site.opened(second)
    assert (await site.enter(first, form=form))[0] in (403, 404)
    assert (await site.enter(second, form=form))[0] == 200


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE secret_forms SET name = 'critical'",
        "UPDATE secret_forms SET version = 2",
        "UPDATE secret_forms SET critical = 0",
        "UPDATE secret_forms SET expires_ts = expires_ts + 1",
        "UPDATE secret_forms SET mac = ''",
    ],
)
async def test_a_link_that_was_forged_in_the_store_leads_nowhere(site: Site, forged: str) -> None:
    """Who can write to the database makes no link for a secret that nobody approved."""
    path = await site.link(critical=True)
    form = await site.opened(path)
    await site.safe.execute(forged)
    assert (await site.enter(path, form=form))[0] == 404
    assert await site.versions() == {}


async def test_the_token_is_not_stored(site: Site) -> None:
    path = await site.link()
    stored = str(await site.safe.rows("SELECT * FROM secret_forms"))
    assert path.rsplit("/", 1)[1] not in stored
    assert "github" in stored


CROSS: dict[str, dict[str, str]] = {
    "without the form's token": {"form": ""},
    "with a guessed one": {"form": "0" * 64},
    "from another site": {"Sec_Fetch_Site": "cross-site"},
    "from another origin": {"Origin": "https://evil.example"},
    "from no origin": {"Origin": "null"},
}


@pytest.mark.parametrize("wrong", CROSS.values(), ids=CROSS)
async def test_what_does_not_come_from_the_page_is_refused(
    site: Site, wrong: dict[str, str]
) -> None:
    path = await site.link()
    right = {"form": await site.opened(path), "Sec_Fetch_Site": "same-origin"}
    assert (await site.enter(path, **{**right, **wrong}))[0] == 403
    assert await site.versions() == {}
    assert (await site.enter(path, **right))[0] == 200


async def test_another_browser_has_another_form(site: Site) -> None:
    path = await site.link()
    form = await site.opened(path)
    site.client.session.cookie_jar.clear()
    assert (await site.enter(path, form=form))[0] == 403
    assert (await site.enter(path, form=await site.opened(path)))[0] == 200


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("text", "short", "fewer than 6 characters"),
        ("text", "x" * (16 * 1024 + 1), "may have 16384"),
        ("text", "with a \0 in it", "is not text"),
        ("api-key", "two words", "holds a space"),
        ("matrix-token", "two\nlines", "a line break"),
        ("json", "{not json}", "is not JSON"),
    ],
)
async def test_a_value_of_another_type_is_refused_and_may_be_entered_again(
    site: Site, kind: str, value: str, why: str
) -> None:
    path = await site.link(type=kind)
    form = await site.opened(path)
    status, text = await site.enter(path, value, form)
    assert (status, why in text) == (422, True)
    assert value not in text or value == "short"
    good = '{"key": "value"}' if kind == "json" else CANARY
    assert (await site.enter(path, good, form))[0] == 200


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(site: Site) -> None:
    path = await site.link()
    form = await site.opened(path)
    assert (await site.enter(path, "x" * 60_000, form))[0] == 413
    assert (await site.enter(path, "x" * 16_000, form))[0] == 200


async def test_no_answer_is_kept_shown_elsewhere_or_runs_a_script(site: Site) -> None:
    path = await site.link(author='@<script>"&:x.org')
    gone = path[:-1] + "?"
    for url, status in ((path, 200), (gone, 404)):
        async with site.client.get(url) as answer:
            headers, text = answer.headers, await answer.text()
        assert answer.status == status
        assert headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "<script" not in text
    site.client.session.cookie_jar.clear()
    async with site.client.get(path) as answer:
        cookie = answer.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert cookie["path"] == "/secrets/enter/"


async def test_under_another_name_it_answers_nothing(site: Site) -> None:
    """A page in somebody's browser may give this server a name of its own: DNS rebinding."""
    path = await site.link()
    async with site.client.get(path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
    site.page.base_url = "https://agency.example"
    async with site.client.get(path, headers={"Host": "agency.example"}) as answer:
        assert answer.status == 200


async def test_a_tampered_vault_takes_nothing(site: Site) -> None:
    await site.safe.vault().put(wanted("other"), site_value())
    path = await site.link()
    form = await site.opened(path)
    await site.safe.execute("UPDATE secrets SET critical = 1")
    status, text = await site.enter(path, form=form)
    assert (status, "changed outside the control plane" in text) == (503, True)


def site_value() -> Any:
    from agency.secrets import SecretValue

    return SecretValue("another value")


async def test_in_safe_mode_nothing_comes_in_and_the_link_stays(site: Site) -> None:
    path = await site.link()
    form = await site.opened(path)
    site.page.held_back = lambda: "alice switched to safe mode"
    status, text = await site.enter(path, form=form)
    assert (status, "safe mode" in text) == (503, True)
    assert await site.versions() == {}
    site.page.held_back = lambda: None
    assert (await site.enter(path, form=form))[0] == 200


async def test_a_store_that_fails_says_nothing_of_the_value(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    path = await site.link()
    form = await site.opened(path)
    await site.safe.execute("DROP TABLE secrets")
    with caplog.at_level(logging.DEBUG):
        status, text = await site.enter(path, form=form)
    assert status == 503
    assert CANARY not in text + caplog.text


async def test_the_audit_log_has_who_asked_and_no_value(site: Site, clock: Clock) -> None:
    path = await site.link()
    await site.enter(path, form=await site.opened(path))
    rows = await site.safe.rows(
        "SELECT trace, actor, target, outcome, detail FROM audit WHERE action = 'secrets enter'"
    )
    ((trace, actor, target, outcome, detail),) = rows
    assert (trace, actor, target, outcome) == ("t-asked", "link", "secret github", "done")
    assert '"asked_by":"@alice:x.org"' in detail.replace(" ", "")
    assert CANARY not in detail
    assert clock.now_ms() > 0
