"""DOUBLES of Drone and Woodpecker on loopback, made from their published API descriptions.

Neither is to be had where these tests run. Drone: docs.drone.io/api/builds (build_create,
build_list, build_info, build_stop) and /api/secrets; that a build without a matching pipeline is
answered by `null` is from reports of its users. Woodpecker: the paths of its own client, and its
`Pipeline` and `PipelineOptions` (v3).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

REPOSITORY = "team/ci"
TOKEN = "token-of-the-runner"


@dataclass
class Doubled:
    """State of a double: builds by number, secrets, and the fault that it answers with."""

    builds: dict[int, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    fault: str = ""
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def new(self, **more: Any) -> dict[str, Any]:
        number = len(self.builds) + 1
        self.builds[number] = {"number": number, "status": "pending", **more}
        return self.builds[number]

    def of(self, request: web.Request) -> dict[str, Any]:
        found = self.builds.get(int(request.match_info["n"]))
        if found is None:
            raise web.HTTPNotFound(text='{"message":"sql: no rows in result set"}')
        return found

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        if self.fault == "500":
            raise web.HTTPInternalServerError(text="<html>oops</html>")
        if self.fault == "marks" and request.method == "PATCH" and "_AT_" in request.path:
            raise web.HTTPInternalServerError
        if self.fault == "429":
            raise web.HTTPTooManyRequests
        if self.fault == "garbage":
            return web.Response(text="<html>not what you want</html>")
        if self.fault == "redirect":
            raise web.HTTPFound("https://elsewhere.example/")
        if self.fault == "list":
            return web.json_response([1, None, {"number": "x"}])
        if self.fault == "null" and request.method == "POST":
            return web.json_response(None)
        return await handler(request)

    async def listed(self, _: web.Request) -> web.Response:
        return web.json_response(sorted(self.builds.values(), key=lambda b: -b["number"]))

    async def one(self, request: web.Request) -> web.Response:
        return web.json_response(self.of(request))

    async def stop(self, request: web.Request) -> web.Response:
        self.of(request)["status"] = "killed"
        return web.Response(status=204)

    async def add_secret(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.secrets[body["name"]] = body
        return web.json_response({"name": body["name"]})

    async def change_secret(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.secrets:
            raise web.HTTPNotFound
        self.secrets[name] |= await request.json()
        return web.json_response({"name": name})

    async def all_secrets(self, _: web.Request) -> web.Response:
        return web.json_response([{"name": name} for name in sorted(self.secrets)])

    async def page_of_secrets(self, request: web.Request) -> web.Response:
        size, page = int(request.query["perPage"]), int(request.query["page"])
        names = sorted(self.secrets)[size * (page - 1) : size * page]
        return web.json_response([{"name": name} for name in names])

    async def drop_secret(self, request: web.Request) -> web.Response:
        if self.secrets.pop(request.match_info["name"], None) is None:
            raise web.HTTPNotFound
        return web.Response(status=204)


@asynccontextmanager
async def drone() -> AsyncIterator[Doubled]:
    """DOUBLE of Drone."""
    double = Doubled()

    async def create(request: web.Request) -> web.Response:
        query = dict(request.query)
        assert query.pop("branch") == "main"
        return web.json_response(double.new(event="custom", params=query))

    base = f"/api/repos/{REPOSITORY}"
    app = web.Application(middlewares=[double.guard])
    app.add_routes(
        [
            web.post(f"{base}/builds", create),
            web.get(f"{base}/builds", double.listed),
            web.get(f"{base}/builds/{{n}}", double.one),
            web.delete(f"{base}/builds/{{n}}", double.stop),
            web.post(f"{base}/secrets", double.add_secret),
            web.patch(f"{base}/secrets/{{name}}", double.change_secret),
            web.delete(f"{base}/secrets/{{name}}", double.drop_secret),
            web.get(f"{base}/secrets", double.all_secrets),
        ]
    )
    async with _served(app, double):
        yield double


@asynccontextmanager
async def woodpecker() -> AsyncIterator[Doubled]:
    """DOUBLE of Woodpecker."""
    double = Doubled()

    async def create(request: web.Request) -> web.Response:
        body = await request.json()
        assert body["branch"] == "main"
        return web.json_response(double.new(event="manual", variables=body["variables"]))

    async def lookup(_: web.Request) -> web.Response:
        return web.json_response({"id": 7, "full_name": REPOSITORY})

    base = "/api/repos/7"
    app = web.Application(middlewares=[double.guard])
    app.add_routes(
        [
            web.get(f"/api/repos/lookup/{REPOSITORY}", lookup),
            web.post(f"{base}/pipelines", create),
            web.get(f"{base}/pipelines", double.listed),
            web.get(f"{base}/pipelines/{{n}}", double.one),
            web.post(f"{base}/pipelines/{{n}}/cancel", double.stop),
            web.post(f"{base}/secrets", double.add_secret),
            web.patch(f"{base}/secrets/{{name}}", double.change_secret),
            web.delete(f"{base}/secrets/{{name}}", double.drop_secret),
            web.get(f"{base}/secrets", double.page_of_secrets),
        ]
    )
    async with _served(app, double):
        yield double


@asynccontextmanager
async def _served(app: web.Application, double: Doubled) -> AsyncIterator[None]:
    server = TestServer(app)
    await server.start_server()
    double.url = str(server.make_url("")).rstrip("/")
    try:
        yield
    finally:
        await server.close()
