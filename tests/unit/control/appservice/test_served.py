"""The pages and calls that the server answers, over a real socket: each status and each word."""

from __future__ import annotations

from typing import Any

import pytest
from served_plane import RIGHT, TRANSACTIONS, WORD, Client, Plane, told

from agency.control.appservice.access import OwnNames
from agency.control.appservice.refusals import Refused
from agency.control.appservice.server import server_limits


async def test_pages_for_everybody(client: Client, plane: Plane) -> None:
    assert await told(await client.get("/live")) == (200, {"live": True})
    assert await told(await client.get("/health")) == (200, {"status": "ok"})
    assert await told(await client.get("/ready")) == (200, {"ready": True})
    plane.ready = False
    assert await told(await client.get("/ready")) == (503, {"ready": False})
    assert not plane.refusals.counts, "what is not ready is no refusal"


async def test_details_are_for_who_holds_the_token(client: Client) -> None:
    answer = await client.get("/ready", headers=RIGHT)
    assert await told(answer) == (200, {"ready": True, "reasons": ["details"]})
    for headers in ({"Authorization": "Bearer x"}, {"Authorization": WORD}, {}):
        assert await told(await client.get("/ready", headers=headers)) == (200, {"ready": True})
    answer = await client.get("/ready", params={"access_token": WORD}, headers=RIGHT)
    assert await told(answer) == (200, {"ready": True}), "a token in a query ends in logs"


async def test_connections_of_strangers_are_closed(client: Client) -> None:
    assert (await client.get("/live")).headers["Connection"] == "close"
    assert "Connection" not in (await client.get("/live", headers=RIGHT)).headers


NO_TOKEN = {"errcode": "M_FORBIDDEN", "error": "hs_token is needed, in the Authorization header"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{TRANSACTIONS}/1"),
        ("GET", "/_matrix/app/v1/users/@agency:x"),
        ("GET", "/_matrix/app/v1/rooms/%23control:x"),
        ("POST", "/_matrix/app/v1/ping"),
        ("GET", "/_matrix/none"),
    ],
)
async def test_the_homeservers_calls_need_its_token(
    client: Client, plane: Plane, method: str, path: str
) -> None:
    assert await told(await client.request(method, path)) == (403, NO_TOKEN)
    answer = await client.request(method, path, params={"access_token": WORD}, headers=RIGHT)
    assert await told(answer) == (403, NO_TOKEN)
    assert plane.refusals.counts == {Refused.TOKEN: 2}
    assert plane.conditions.present() == (), "no transaction of the homeserver was refused"


async def test_users_rooms_and_pings_are_answered(client: Client) -> None:
    async def get(path: str) -> tuple[int, Any]:
        return await told(await client.get(f"/_matrix/app/v1/{path}", headers=RIGHT))

    not_ours = {"errcode": "M_NOT_FOUND", "error": "not ours"}
    assert await get("users/@agency:x") == (200, {})
    assert await get("users/@alice:x") == (404, not_ours)
    assert await get("rooms/%23control:x") == (200, {})
    assert await get("rooms/%23other:x") == (404, not_ours)
    answer = await client.post("/_matrix/app/v1/ping", headers=RIGHT, json={"transaction_id": "a"})
    assert await told(answer) == (200, {})
    assert await get("none") == (404, {"errcode": "M_UNRECOGNIZED", "error": "no such endpoint"})
    answer = await client.post("/live", headers=RIGHT)
    assert await told(answer) == (405, {"errcode": "M_UNRECOGNIZED", "error": "no such method"})


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
async def test_pages_answer_to_their_own_names_alone(
    client: Client, plane: Plane, host: str
) -> None:
    for own in ("127.0.0.1:9", "localhost", "[::1]", "127.9.9.9"):
        assert (await client.get("/live", headers={"Host": own})).status == 200
    answer = await client.get("/live", headers={"Host": host})
    wanted = {"errcode": "M_FORBIDDEN", "error": "this server has another name"}
    assert await told(answer) == (421, wanted)
    assert plane.refusals.counts == {Refused.HOST: 1}


@pytest.mark.parametrize(
    ("listens", "host", "is_own"),
    [
        ("192.0.2.7", "192.0.2.7:8009", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("0.0.0.0", "192.0.2.8", True),
        ("::", "[2001:db8::1]:80", True),
        ("0.0.0.0", "evil.example", False),
        ("Agency.local", "agency.local", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "a b", False),
        ("127.0.0.1", "[", False),
    ],
)
def test_own_names(listens: str, host: str, is_own: bool) -> None:
    assert OwnNames(listens).include(host) is is_own


def test_the_servers_limits() -> None:
    limits = server_limits(7)
    assert (limits.body_bytes, limits.keep_alive_s) == (7, 3630.0)
    assert (limits.bounds.connections, limits.bounds.head_bytes) == (64, 16 * 1024)
    assert (limits.bounds.head_s, limits.bounds.headers) == (10.0, 40)
