"""Log-ins to pages that keep a session in a cookie: simulated pages, a simulated provider.

The pages take the ways of Grafana, Drone and Woodpecker; none of the three is to be had here.
"""

from __future__ import annotations

import html
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from agency.spinup.targets.incus.oidc.browser import Addresses, LoginError
from agency.spinup.targets.incus.oidc.probe import pages_evidence
from agency.spinup.targets.incus.oidc.request import Request
from agency.spinup.targets.incus.oidc.sites import SITES, further_pages, log_in_to
from agency.transcript.rules.v2.judge import PROBES

DOMAIN = "agency.example"
FIELDS = '<input name="who"><input type="password" name="p">'
ACCOUNT, PASSWORD = "member", "the-password-of-this-run"


@dataclass
class World:
    """What provider and page share: codes and sessions; and in what the page is at fault."""

    name: str
    issuer: str = ""
    fault: str = ""
    codes: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    passwords_seen_by_the_page: list[str] = field(default_factory=list)

    @property
    def public(self) -> str:
        return f"https://{self.name}.{DOMAIN}"


class _Server(BaseHTTPRequestHandler):
    world: World

    def log_message(self, *args: object) -> None:
        """Tests stay quiet."""

    def form(self) -> dict[str, str]:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        return {name: values[0] for name, values in parse_qs(text).items()}

    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())


class Provider(_Server):
    """Asks for a password, then for consent, then sends back."""

    def do_GET(self) -> None:
        self.answer(200, self.page("/sign-in", FIELDS, self.query()))

    def page(self, action: str, fields: str, asked: dict[str, str]) -> str:
        kept = html.escape(json.dumps(asked))
        hidden = f'<input type="hidden" name="kept" value="{kept}">'
        return f'<form method="post" action="{action}">{fields}{hidden}</form>'

    def do_POST(self) -> None:
        form = self.form()
        kept = json.loads(form["kept"])
        if self.path == "/sign-in":
            if (form["who"], form["p"]) != (ACCOUNT, PASSWORD):
                return self.answer(401, "no")
            return self.answer(200, self.page("/consent", "", kept))
        code = secrets.token_urlsafe(8)
        self.world.codes[code] = ACCOUNT
        back = urlencode({"code": code, "state": kept["state"]})
        return self.answer(302, Location=f"{kept['redirect_uri']}?{back}")


class Page(_Server):
    """A page with a session in a cookie."""

    def cookie(self, name: str) -> str:
        found = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return found.value if found else ""

    def do_GET(self) -> None:
        site, world = SITES[self.world.name], self.world
        path, query = urlsplit(self.path).path, self.query()
        if path == site.me:
            who = world.sessions.get(self.cookie("session"))
            if who is None and world.fault == "open to strangers":
                who = "anonymous"
            return self.answer(200, json.dumps({"login": who})) if who else self.answer(401, "{}")
        if path == site.callback and "code" in query:
            who = world.codes.pop(query["code"], None)
            if who is None or query["state"] != self.cookie("state"):
                return self.answer(403, "no")
            session = secrets.token_urlsafe(8)
            world.sessions[session] = "root" if world.fault == "another account" else who
            if world.fault == "forgets":
                world.sessions.clear()
            cookie = f"session={session}; Path=/; Secure; HttpOnly"
            return self.answer(302, Location="/", Set_Cookie=cookie)
        if path == site.start:
            return self.begin(site.callback)
        return self.answer(200, "welcome")

    def begin(self, callback: str) -> None:
        world = self.world
        if world.fault == "a form of its own":
            form = (
                '<form method="post" action="/own"><input name="u"><input type="password"></form>'
            )
            return self.answer(200, form)
        state = secrets.token_urlsafe(8)
        way = {"response_type": "code", "state": state, "redirect_uri": world.public + callback}
        if world.fault == "refused":
            denied = urlencode({"error": "access_denied"})
            return self.answer(302, Location=f"{world.public}{callback}?{denied}")
        return self.answer(
            302,
            Location=f"{world.issuer}/authorize?{urlencode(way)}",
            Set_Cookie=f"state={state}; Path=/; Secure; HttpOnly",
        )

    def do_POST(self) -> None:
        self.world.passwords_seen_by_the_page.append(str(self.form()))
        self.answer(200, "thank you")


@pytest.fixture(params=sorted(SITES))
def world(request: pytest.FixtureRequest) -> Iterator[tuple[World, Addresses]]:
    world, servers = World(request.param), []
    for handler in (Provider, Page):
        bound = type(handler.__name__, (handler,), {"world": world})
        server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    issuer, inner = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    world.issuer = issuer
    yield world, Addresses(world.public, inner, issuer)
    for server in servers:
        server.shutdown()
        server.server_close()


def evidence(page: dict[str, Any]) -> dict[str, Any]:
    seen = {
        "provider": {"kind": "certified provider package, not GitLab"},
        "issuer": "http://127.0.0.1:8026",
        "account": ACCOUNT,
        "pages": [page],
    }
    return pages_evidence(seen, {"name": "example", "domain": DOMAIN})


def test_a_page_shows_the_account_that_logged_in(world: tuple[World, Addresses]) -> None:
    known, addresses = world
    page = log_in_to(known.name, addresses, ACCOUNT, PASSWORD)
    assert page == {
        "page": known.name,
        "url": f"{known.public}/api/user",
        "account": ACCOUNT,
        "status": 200,
        "refusedStranger": True,
    }
    assert PROBES["oidc.login"].judge(evidence(page)).ok


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("another account", "knows another account"), ("open to strangers", "refusedStranger")],
)
def test_a_page_at_fault_is_refused_by_the_rule(
    fault: str, reason: str, world: tuple[World, Addresses]
) -> None:
    known, addresses = world
    known.fault = fault
    verdict = PROBES["oidc.login"].judge(
        evidence(log_in_to(known.name, addresses, ACCOUNT, PASSWORD))
    )
    assert not verdict.ok
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("forgets", "answered 401"),
        ("refused", "the provider refused: access_denied"),
        ("a form of its own", "does not lead to the provider"),
    ],
)
def test_a_page_that_does_not_log_in_is_told(
    fault: str, reason: str, world: tuple[World, Addresses]
) -> None:
    known, addresses = world
    known.fault = fault
    with pytest.raises(LoginError, match=reason) as caught:
        log_in_to(known.name, addresses, ACCOUNT, PASSWORD)
    assert PASSWORD not in str(caught.value)
    assert known.passwords_seen_by_the_page == []


def test_a_wrong_password_does_not_log_in(world: tuple[World, Addresses]) -> None:
    known, addresses = world
    with pytest.raises(LoginError, match="the provider refused: 401"):
        log_in_to(known.name, addresses, ACCOUNT, "another-password")
    assert known.sessions == {}


def test_every_further_page_is_logged_in_to(world: tuple[World, Addresses]) -> None:
    known, addresses = world
    request = Request(
        homeserver="http://127.0.0.1:1",
        public=f"https://matrix.{DOMAIN}",
        issuer=known.issuer,
        idp="oidc-forge",
        account=ACCOUNT,
        password=PASSWORD,
        wrong_password="wrong",
        sites={known.name: addresses.homeserver},
    )
    assert [page["page"] for page in further_pages(request)] == [known.name]
    with pytest.raises(LoginError, match="no page is known"):
        list(further_pages(request.model_copy(update={"sites": {"wiki": "http://127.0.0.1:1"}})))
