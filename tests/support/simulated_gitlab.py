"""SIMULATED GitLab on loopback that keeps state: the calls of the forge's contract, and no others.

Paths, parameters, fields and refusals are those of GitLab's own pages in doc/api: branches.md,
members.md, merge_requests.md, notes.md, emoji_reactions.md, commits.md, issues.md and
project_webhooks.md. GitLab itself cannot run where these tests do.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

PROJECT = "team/app"
_P = "/api/v4/projects/team%2Fapp"


@dataclass
class SimulatedGitlab:
    """The state of one project, and the accounts: name → (id, access level, token)."""

    url: str = ""
    accounts: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    requests: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    awards: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    ids: int = 100

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def who(self, request: web.Request) -> dict[str, Any]:
        told = request.headers.get("PRIVATE-TOKEN")
        for name, (number, _, token) in self.accounts.items():
            if token == told:
                return {"id": number, "username": name, "name": name, "state": "active"}
        raise web.HTTPUnauthorized(text='{"message":"401 Unauthorized"}')

    def level(self, request: web.Request) -> int:
        return self.accounts[self.who(request)["username"]][1]

    def commit(self, branch: str, text: str) -> str:
        """Put a commit on a branch, as a push would."""
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.branches[branch] = sha
        for one in self.requests:
            if one["source_branch"] == branch and one["state"] == "opened":
                one["sha"] = sha
                self.version(one)
        return sha

    def version(self, request: dict[str, Any]) -> None:
        """Note a push to a merge request."""
        noted = {"id": self.next_id(), "head_commit_sha": request["sha"], "created_at": _now()}
        self.versions.setdefault(request["iid"], []).insert(0, noted)
        request["updated_at"] = _now()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _of(found: list[dict[str, Any]], request: web.Request, key: str = "iid") -> dict[str, Any]:
    for one in found:
        if one[key] == int(request.match_info["n"]):
            return one
    raise web.HTTPNotFound(text='{"message":"404 Not found"}')


def _paged(request: web.Request, found: list[dict[str, Any]]) -> web.Response:
    """The page that is asked for; the whole list, if none is."""
    size = int(request.query.get("per_page", len(found) or 1))
    first = (int(request.query.get("page", 1)) - 1) * size
    return web.json_response(found[first : first + size])


@dataclass
class _Pages:
    """The calls, each a method; `app` is their table."""

    lab: SimulatedGitlab

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.signed_in])
        app.add_routes(
            [
                web.get("/api/v4/user", self.user),
                web.get("/api/v4/users", self.users),
                web.get("/api/v4/version", self.version),
                web.get("/api/v4/groups/{group}/members/all/{n}", self.group_member),
                web.get(_P + "/merge_requests/{n}/versions", self.read_versions),
                web.get(_P, self.project),
                web.get("/api/v4/namespaces/{name}", self.namespace),
                web.post("/api/v4/projects", self.create),
                web.get(_P + "/repository/branches/{name}", self.branch),
                web.get(_P + "/members/all/{n}", self.member),
                web.get(_P + "/merge_requests", self.listed),
                web.post(_P + "/merge_requests", self.propose),
                web.get(_P + "/merge_requests/{n}", self.one),
                web.put(_P + "/merge_requests/{n}/merge", self.merge),
                web.get(_P + "/{kind:merge_requests|issues}/{n}/notes", self.read_notes),
                web.post(_P + "/{kind:merge_requests|issues}/{n}/notes", self.add_note),
                web.put(_P + "/merge_requests/{n}/notes/{note}", self.edit_note),
                web.get(_P + "/merge_requests/{n}/notes/{note}/award_emoji", self.read_awards),
                web.post(_P + "/merge_requests/{n}/notes/{note}/award_emoji", self.award),
                web.post(_P + "/statuses/{sha}", self.set_status),
                web.get(_P + "/repository/commits/{sha}/statuses", self.read_statuses),
                web.get(_P + "/issues", self.read_issues),
                web.post(_P + "/issues", self.add_issue),
                web.put(_P + "/issues/{n}", self.change_issue),
                web.get(_P + "/hooks", self.read_hooks),
                web.post(_P + "/hooks", self.add_hook),
                web.delete(_P + "/hooks/{n}", self.remove_hook),
            ]
        )
        return app

    @web.middleware
    async def signed_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.lab.who(request)
        return await handler(request)

    async def user(self, request: web.Request) -> web.Response:
        lab = self.lab
        return web.json_response(lab.who(request))

    async def users(self, request: web.Request) -> web.Response:
        lab = self.lab
        name = request.query["username"]
        known = lab.accounts.get(name)
        return web.json_response([{"id": known[0], "username": name}] if known else [])

    async def namespace(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != "team":
            raise web.HTTPNotFound(text='{"message":"404 Namespace Not Found"}')
        return web.json_response({"id": 7, "full_path": "team", "kind": "group"})

    async def create(self, request: web.Request) -> web.Response:
        lab, body = self.lab, await request.json()
        if lab.level(request) < 30:
            return _refused(403, "403 Forbidden")
        if body["namespace_id"] != 7 or body["visibility"] != "private":
            return _refused(400, "namespace is not valid")
        path = f"team/{body['path']}"
        if path == PROJECT:
            return _refused(400, "path has already been taken")
        made = {
            "id": lab.next_id(),
            "path_with_namespace": path,
            "default_branch": None,
            "http_url_to_repo": f"{lab.url}/{path}.git",
            "web_url": f"{lab.url}/{path}",
        }
        return web.json_response(made, status=201)

    async def project(self, _: web.Request) -> web.Response:
        lab = self.lab
        return web.json_response(
            {
                "id": 3,
                "path_with_namespace": PROJECT,
                "default_branch": "main",
                "http_url_to_repo": f"{lab.url}/{PROJECT}.git",
                "web_url": f"{lab.url}/{PROJECT}",
            }
        )

    async def branch(self, request: web.Request) -> web.Response:
        lab = self.lab
        sha = lab.branches.get(request.match_info["name"])
        if sha is None:
            return _refused(404, "404 Branch Not Found")
        return web.json_response({"name": request.match_info["name"], "commit": {"id": sha}})

    async def member(self, request: web.Request) -> web.Response:
        lab = self.lab
        for name, (number, level, _) in lab.accounts.items():
            if number == int(request.match_info["n"]) and level:
                told = {"id": number, "username": name, "state": "active", "access_level": level}
                return web.json_response(told)
        return _refused(404, "404 Not found")

    async def listed(self, request: web.Request) -> web.Response:
        lab = self.lab
        wanted = request.query.get("state", "all")
        after = datetime.fromisoformat(request.query.get("updated_after", "2000-01-01T00:00:00Z"))
        found = [r for r in lab.requests if datetime.fromisoformat(r["updated_at"]) >= after]
        return _paged(request, [r for r in found if wanted in ("all", r["state"])])

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "18.0.0"})

    async def group_member(self, request: web.Request) -> web.Response:
        if request.match_info["group"] != PROJECT.partition("/")[0]:
            return _refused(404, "404 Group Not Found")
        return await self.member(request)

    async def read_versions(self, request: web.Request) -> web.Response:
        return web.json_response(self.lab.versions.get(int(request.match_info["n"]), []))

    async def propose(self, request: web.Request) -> web.Response:
        lab = self.lab
        told = await request.json()
        if told["source_branch"] not in lab.branches:
            return _refused(400, "source branch does not exist")
        same = ("source_branch", "target_branch")
        if any(r["state"] == "opened" and all(r[k] == told[k] for k in same) for r in lab.requests):
            return _refused(409, "Another open merge request already exists for this source branch")
        number = len(lab.requests) + len(lab.issues) + 1
        made = {key: told[key] for key in (*same, "title", "description")} | {
            "iid": number,
            "state": "opened",
            "author": lab.who(request),
            "sha": lab.branches[told["source_branch"]],
            "web_url": f"{lab.url}/{PROJECT}/-/merge_requests/{number}",
            "source_project_id": 3,
            "target_project_id": 3,
        }
        lab.requests.append(made)
        lab.version(made)
        return web.json_response(made, status=201)

    async def one(self, request: web.Request) -> web.Response:
        lab = self.lab
        return web.json_response(_of(lab.requests, request))

    async def merge(self, request: web.Request) -> web.Response:
        lab = self.lab
        found, told = _of(lab.requests, request), await request.json()
        if lab.level(request) < 30:
            return _refused(401, "401 Unauthorized")
        if found["state"] != "opened":
            return _refused(405, "405 Method Not Allowed")
        if told["sha"] != found["sha"]:
            return _refused(409, "SHA does not match HEAD of source branch")
        found["state"] = "merged"
        lab.branches[found["target_branch"]] = found["sha"]
        return web.json_response(found)

    async def read_notes(self, request: web.Request) -> web.Response:
        lab = self.lab
        key = (request.match_info["kind"], int(request.match_info["n"]))
        found = lab.notes.get(key, [])
        descending = request.query.get("sort") == "desc"
        return _paged(request, found[::-1] if descending else found)

    async def add_note(self, request: web.Request) -> web.Response:
        lab = self.lab
        kind = request.match_info["kind"]
        on = _of(lab.requests if kind == "merge_requests" else lab.issues, request)
        body, now = (await request.json())["body"], _now()
        note = {"id": lab.next_id(), "body": body, "author": lab.who(request), "system": False}
        note |= {"created_at": now, "updated_at": now}
        on["updated_at"] = now
        lab.notes.setdefault((kind, int(request.match_info["n"])), []).append(note)
        return web.json_response(note, status=201)

    async def edit_note(self, request: web.Request) -> web.Response:
        lab = self.lab
        for note in lab.notes.get(("merge_requests", int(request.match_info["n"])), []):
            if note["id"] == int(request.match_info["note"]):
                if note["author"]["id"] != lab.who(request)["id"]:
                    return _refused(403, "403 Forbidden")
                note |= {"body": (await request.json())["body"], "updated_at": _now()}
                _of(lab.requests, request)["updated_at"] = note["updated_at"]
                return web.json_response(note)
        return _refused(404, "404 Not found")

    async def read_awards(self, request: web.Request) -> web.Response:
        lab = self.lab
        return web.json_response(lab.awards.get(int(request.match_info["note"]), []))

    async def award(self, request: web.Request) -> web.Response:
        lab = self.lab
        given = lab.awards.setdefault(int(request.match_info["note"]), [])
        name, who = (await request.json())["name"], lab.who(request)
        if any(one["name"] == name and one["user"]["id"] == who["id"] for one in given):
            return _refused(404, "404 Award Emoji Name has already been taken Not Found")
        given.append({"id": lab.next_id(), "name": name, "user": who})
        return web.json_response(given[-1], status=201)

    async def set_status(self, request: web.Request) -> web.Response:
        lab = self.lab
        told = await request.json()
        made = {"id": lab.next_id(), "sha": request.match_info["sha"], "status": told["state"]}
        made |= {key: told.get(key) for key in ("name", "description", "target_url")}
        same = (made["sha"], made["name"])
        lab.statuses = [s for s in lab.statuses if (s["sha"], s["name"]) != same] + [made]
        return web.json_response(made, status=201)

    async def read_statuses(self, request: web.Request) -> web.Response:
        lab = self.lab
        sha = request.match_info["sha"]
        return web.json_response([s for s in lab.statuses if s["sha"] == sha])

    async def read_issues(self, request: web.Request) -> web.Response:
        lab = self.lab
        return _paged(request, [i for i in lab.issues if i["state"] == request.query["state"]])

    async def add_issue(self, request: web.Request) -> web.Response:
        lab = self.lab
        told, number = await request.json(), len(lab.requests) + len(lab.issues) + 1
        made = {"iid": number, "title": told["title"], "description": told["description"]}
        made |= {"author": lab.who(request), "state": "opened"}
        made["labels"] = [each for each in told.get("labels", "").split(",") if each]
        made["web_url"] = f"{lab.url}/{PROJECT}/-/issues/{number}"
        lab.issues.append(made)
        return web.json_response(made, status=201)

    async def change_issue(self, request: web.Request) -> web.Response:
        lab = self.lab
        found = _of(lab.issues, request)
        if (await request.json()).get("state_event") == "close":
            found["state"] = "closed"
        return web.json_response(found)

    async def read_hooks(self, request: web.Request) -> web.Response:
        lab = self.lab
        if lab.level(request) < 40:
            return _refused(403, "403 Forbidden")
        return web.json_response(lab.hooks)

    async def add_hook(self, request: web.Request) -> web.Response:
        lab = self.lab
        told = await request.json()
        told.pop("token")  # GitLab never tells it again
        lab.hooks.append(told | {"id": lab.next_id()})
        return web.json_response(lab.hooks[-1], status=201)

    async def remove_hook(self, request: web.Request) -> web.Response:
        lab = self.lab
        lab.hooks.remove(_of(lab.hooks, request, "id"))
        return web.Response(status=204)


@contextmanager
def simulated_gitlab() -> Iterator[SimulatedGitlab]:
    """Serve a simulated GitLab from a thread of its own."""
    lab, loop, ready = SimulatedGitlab(), asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(_Pages(lab).app(), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        lab.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        return runner

    runner = None

    def serve() -> None:
        nonlocal runner
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield lab
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
