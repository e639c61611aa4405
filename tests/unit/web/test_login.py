"""Who is let in: programs by a bearer token, people by a session's cookie."""

from __future__ import annotations

import itertools

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agency.clock import Clock
from agency.web import Sessions, carries_bearer, drop_cookie, set_cookie
from agency.web.login import COOKIE


def request(*headers: tuple[str, str]) -> web.Request:
    from multidict import CIMultiDict

    return make_mocked_request("GET", "/", headers=CIMultiDict(headers))


def with_cookie(token: str) -> web.Request:
    return request(("Cookie", f"{COOKIE}={token}"))


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ([("Authorization", "Bearer right")], True),
        ([], False),
        ([("Authorization", "bearer right")], False),
        ([("Authorization", "Bearer  right")], False),
        ([("Authorization", "Bearer righ")], False),
        ([("Authorization", "Bearer rightx")], False),
        ([("Authorization", "Basic right")], False),
        ([("Authorization", "Bearer r\u00efght")], False),
        ([("Authorization", "Bearer right"), ("Authorization", "Bearer right")], False),
    ],
)
def test_a_bearer_token(headers, right):
    assert carries_bearer(request(*headers), "right") is right


def test_an_empty_token_lets_nobody_in():
    assert not carries_bearer(request(("Authorization", "Bearer ")), "")


class World:
    """Sessions whose time stands still and whose tokens are t1, t2 …"""

    def __init__(self) -> None:
        self.now = 1000.0
        numbers = itertools.count(1)
        self.sessions = Sessions(
            Clock(steady=lambda: self.now),
            idle_s=100,
            longest_s=250,
            most=2,
            make_token=lambda: f"t{next(numbers)}",
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_session_is_found_by_its_cookie(world):
    token = world.sessions.start("@alice:x")
    found = world.sessions.of(with_cookie(token))
    assert found is not None
    assert found.user == "@alice:x"
    for other in ("", "t9", found.form_token, token + "x"):
        assert world.sessions.of(with_cookie(other)) is None
    assert world.sessions.of(request()) is None


def test_a_form_belongs_to_a_session(world):
    found = world.sessions.of(with_cookie(world.sessions.start("@alice:x")))
    assert found.takes_form(found.form_token)
    assert not found.takes_form("")
    assert not found.takes_form("t1")
    assert not found.takes_form("\udcff")


def test_an_idle_session_ends(world):
    token = world.sessions.start("@alice:x")
    for _ in range(2):
        world.now += 100
        assert world.sessions.of(with_cookie(token)) is not None
    world.now += 1
    assert world.sessions.of(with_cookie(token)) is not None
    world.now += 101
    assert world.sessions.of(with_cookie(token)) is None


def test_a_busy_session_ends_too(world):
    token = world.sessions.start("@alice:x")
    for _ in range(5):
        world.now += 50
        assert world.sessions.of(with_cookie(token)) is not None
    world.now += 1
    assert world.sessions.of(with_cookie(token)) is None


def test_a_session_is_ended(world):
    token = world.sessions.start("@alice:x")
    world.sessions.end(with_cookie(token))
    world.sessions.end(with_cookie(token))
    assert world.sessions.of(with_cookie(token)) is None


def test_there_is_a_most_of_sessions(world):
    first, second = world.sessions.start("@a:x"), world.sessions.start("@b:x")
    assert world.sessions.of(with_cookie(first)) is not None  # used last now
    third = world.sessions.start("@c:x")
    alive = [world.sessions.of(with_cookie(t)) is not None for t in (first, second, third)]
    assert alive == [True, False, True]


def test_a_token_is_not_in_what_is_kept(world):
    token = world.sessions.start("@alice:x")
    found = world.sessions.of(with_cookie(token))
    kept = repr(world.sessions)
    assert f"'{token}'" not in kept
    assert found.form_token not in kept


def test_a_cookie_is_for_this_host_over_tls_and_hidden_from_scripts():
    response = web.Response()
    set_cookie(response, "t1")
    morsel = response.cookies[COOKIE]
    assert COOKIE.startswith("__Host-")
    assert (morsel["path"], morsel["domain"]) == ("/", "")
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (True, True, "Strict")
    drop_cookie(response)
    assert response.cookies[COOKIE]["max-age"] in (0, "0")
