"""Baseline of reply latency: an appservice that only answers every message.

python -m benchmarks.echo HOMESERVER PORT BOT < TOKENS (as_token, then hs_token, a line each)
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web


def make_app(homeserver: str, bot: str, as_token: str, hs_token: str) -> web.Application:
    """Make the appservice; it stores nothing and checks as little as possible."""
    headers = {"Authorization": f"Bearer {as_token}"}
    app = web.Application()

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        app["session"] = aiohttp.ClientSession(headers=headers)
        yield
        await app["session"].close()

    async def transaction(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {hs_token}":
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        for event in (await request.json())["events"]:
            if event["type"] != "m.room.message" or event["sender"] == bot:
                continue
            room, event_id = event["room_id"], event["event_id"]
            url = (
                f"{homeserver}/_matrix/client/v3/rooms/{room}/send/m.room.message/e{time.time_ns()}"
            )
            content = {
                "msgtype": "m.notice",
                "body": "pong",
                "m.relates_to": {
                    "rel_type": "m.thread",
                    "event_id": event_id,
                    "is_falling_back": True,
                    "m.in_reply_to": {"event_id": event_id},
                },
                "org.agency.reply": {"command": event_id, "final": True, "ok": True},
            }
            async with request.app["session"].put(url, json=content) as answer:
                answer.raise_for_status()
        return web.json_response({})

    app.cleanup_ctx.append(lifetime)
    app.router.add_put("/_matrix/app/v1/transactions/{txn}", transaction)
    return app


def main() -> None:
    """Serve until the process is ended."""
    homeserver, port, bot = sys.argv[1:4]
    as_token, hs_token = sys.stdin.read().split()
    web.run_app(
        make_app(homeserver, bot, as_token, hs_token),
        host="127.0.0.1",
        port=int(port),
        print=None,
    )


if __name__ == "__main__":
    main()
