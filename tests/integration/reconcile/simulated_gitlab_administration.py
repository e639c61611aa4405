"""SIMULATED GitLab: the part of its REST API that gitlab-bootstrap calls, in memory.

GitLab itself cannot run where these tests do. What keeps the simulation honest is OPERATIONS:
every path, parameter and field that GitLab's own OpenAPI description
(doc/api/openapi/openapi_v2.yaml in gitlab-org/gitlab) has for these calls, and for
users and their tokens, which that description leaves out, doc/api/users.md and
doc/api/user_tokens.md. A call with another path, parameter or value is answered by 599 and noted
in `violations`; so is an answer of ours with a field that GitLab does not have.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_PAGE = {"page", "per_page"}
_RUNNER = {
    "description", "paused", "locked", "access_level", "run_untagged", "tag_list",
    "maximum_timeout", "maintenance_note",
}  # fmt: skip
_APPLICATION = {
    "id", "application_id", "application_name", "callback_url", "confidential", "scopes",
}  # fmt: skip
_RUNNER_FACTS = {
    "id", "description", "ip_address", "active", "paused", "is_shared", "runner_type", "name",
    "online", "created_by", "created_at", "status", "job_execution_status", "tag_list",
    "run_untagged", "locked", "maximum_timeout", "access_level", "contacted_at",
}  # fmt: skip
_GROUP_FACTS = {"id", "name", "path", "visibility", "description", "full_path", "web_url"}
_MEMBER_FACTS = {"id", "username", "name", "state", "access_level", "expires_at"}
_TOKEN_FACTS = {
    "id", "name", "revoked", "created_at", "description", "scopes", "user_id", "last_used_at",
    "active", "expires_at",
}  # fmt: skip
_USER_FACTS = {"id", "username", "name", "state", "is_admin", "email"}


@dataclass(frozen=True)
class Operation:
    """Which parameters a call must and may have, and which fields its answer may have."""

    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    answer: frozenset[str] = frozenset()


def op(must: set[str] = frozenset(), may: set[str] = frozenset(), answer=frozenset()) -> Operation:
    return Operation(frozenset(must), frozenset(may), frozenset(answer))


OPERATIONS = {
    "GET /applications": op(may=_PAGE, answer=_APPLICATION),
    "POST /applications": op(
        {"name", "redirect_uri", "scopes"}, {"confidential"}, _APPLICATION | {"secret"}
    ),
    "DELETE /applications/:id": op(),
    "POST /applications/:id/renew-secret": op(answer=_APPLICATION | {"secret"}),
    "GET /runners/all": op(
        may=_PAGE | {"scope", "type", "paused", "status", "tag_list"},
        answer=_RUNNER_FACTS - {"tag_list", "run_untagged", "locked", "access_level"},
    ),
    "GET /runners/:id": op(may={"include_projects"}, answer=_RUNNER_FACTS),
    "PUT /runners/:id": op(may=_RUNNER | {"active"}, answer=_RUNNER_FACTS),
    "POST /runners/verify": op({"token"}, {"system_id"}),
    "POST /runners/:id/reset_authentication_token": op(answer={"token", "token_expires_at"}),
    "POST /user/runners": op(
        {"runner_type"},
        _RUNNER | {"group_id", "project_id", "token_expires_at"},
        {"id", "token", "token_expires_at"},
    ),
    "POST /groups": op({"name", "path"}, {"visibility", "description"}, _GROUP_FACTS),
    "GET /groups/:id": op(may={"with_projects"}, answer=_GROUP_FACTS),
    "PUT /groups/:id": op(may={"name", "path", "visibility", "description"}, answer=_GROUP_FACTS),
    "GET /groups/:id/members/:id": op(answer=_MEMBER_FACTS),
    "POST /groups/:id/members": op({"access_level"}, {"user_id", "username"}, _MEMBER_FACTS),
    "PUT /groups/:id/members/:id": op({"access_level"}, {"expires_at"}, _MEMBER_FACTS),
    "GET /users": op(may=_PAGE | {"username"}, answer=_USER_FACTS),
    "GET /users/:id": op(answer=_USER_FACTS),
    "POST /users": op(
        {"email", "name", "username"},
        {"force_random_password", "skip_confirmation", "can_create_group", "admin"},
        _USER_FACTS,
    ),
    "PUT /users/:id": op(may={"name", "admin", "email"}, answer=_USER_FACTS),
    "POST /users/:id/unblock": op(),
    "POST /users/:id/personal_access_tokens": op(
        {"name", "scopes"}, {"expires_at"}, _TOKEN_FACTS | {"token"}
    ),
    "GET /personal_access_tokens": op(may=_PAGE | {"user_id", "state"}, answer=_TOKEN_FACTS),
    "GET /personal_access_tokens/self": op(answer=_TOKEN_FACTS),
    "DELETE /personal_access_tokens/:id": op(),
}
_CHOICES = {
    "visibility": {"private", "internal", "public"},
    "runner_type": {"instance_type", "group_type", "project_type"},
    "type": {"instance_type", "group_type", "project_type"},
    "access_level": {"not_protected", "ref_protected", 10, 15, 20, 30, 40, 50},
    "state": {"active", "inactive"},
}


class HttpError(Exception):
    """An answer other than success."""


@dataclass
class SimulatedGitlab:
    """Its state, for the tests to read and to disturb."""

    root_token: str
    applications: dict[int, dict[str, Any]] = field(default_factory=dict)
    application_secrets: dict[int, str] = field(default_factory=dict)
    runners: dict[int, dict[str, Any]] = field(default_factory=dict)
    runner_tokens: dict[int, str] = field(default_factory=dict)
    groups: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: dict[int, dict[str, Any]] = field(default_factory=dict)
    members: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    tokens: dict[int, dict[str, Any]] = field(default_factory=dict)
    token_values: dict[int, str] = field(default_factory=dict)
    root_scopes: tuple[str, ...] = ("api", "admin_mode")
    writes: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    tells_scopes: bool = True
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- the edge

    def answer(
        self, method: str, target: str, headers: Any, body: dict[str, Any]
    ) -> tuple[int, Any]:
        split = urlsplit(target)
        path = split.path
        if path == "/oauth/token":
            # As of GitLab 19: no log-in by password.
            self.violations.append("POST /oauth/token")
            return 400, {"error": "unsupported_grant_type"}
        path = path.removeprefix("/api/v4")
        numbers = [int(n) for n in re.findall(r"/(\d+)(?=/|\Z)", path)]
        shape = re.sub(r"/\d+(?=/|\Z)", "/:id", path)
        group = re.match(r"/groups/([a-z][^/]*)\Z", path)
        key = f"{method} {'/groups/:id' if group else shape}"
        parameters = {**dict(parse_qsl(split.query)), **body}
        trouble = self._trouble(key, parameters)
        if trouble:
            self.violations.append(trouble)
            return 599, {"message": trouble}
        if key in self.faults:
            return self.faults[key], {"message": "fault"}
        if not self._allowed(key, headers):
            return 401, {"message": "401 Unauthorized"}
        if method != "GET" and key != "POST /runners/verify":
            self.writes.append(key)
        try:
            told = self._dispatch(key, numbers, parameters, group and group[1])
        except HttpError as error:
            return int(str(error)), {"message": str(error)}
        return self._checked(key, told)

    def _trouble(self, key: str, parameters: dict[str, Any]) -> str | None:
        operation = OPERATIONS.get(key)
        if operation is None:
            return f"{key}: GitLab has no such call"
        missing = operation.must - parameters.keys()
        unknown = parameters.keys() - operation.must - operation.may
        wrong = [
            name for name, value in parameters.items()
            if name in _CHOICES and value not in _CHOICES[name]
        ]  # fmt: skip
        if missing or unknown or wrong:
            return f"{key}: missing {missing}, unknown {unknown}, wrong {wrong}"
        return None

    def _allowed(self, key: str, headers: Any) -> bool:
        given = headers.get("PRIVATE-TOKEN")
        if given == self.root_token:
            self._current = None
            return True
        if key == "GET /personal_access_tokens/self":
            return self._token_of(given) is not None
        return False

    def _checked(self, key: str, told: Any) -> tuple[int, Any]:
        for one in told if isinstance(told, list) else [told]:
            extra = (one or {}).keys() - OPERATIONS[key].answer
            if extra:
                self.violations.append(f"{key}: answers with {extra}")
        made = key.startswith("POST") and "application" not in key and "verify" not in key
        return (204 if told is None else 201 if made else 200), told

    # --- the calls

    def _dispatch(self, key: str, numbers: list[int], given: dict[str, Any], path: str | None):
        method, _, rest = key.partition(" ")
        handler = getattr(self, f"_{rest.split('/')[1]}")
        return handler(method, rest, numbers, given, path)

    def _applications(self, method, rest, numbers, given, _path):
        if method == "GET":
            hidden = set() if self.tells_scopes else {"scopes"}
            return [
                {k: v for k, v in one.items() if k not in hidden}
                for one in self.applications.values()
            ]
        if method == "DELETE":
            self.applications.pop(numbers[0])
            return None
        identity = numbers[0] if numbers else next(self.numbers)
        if not numbers:
            self.applications[identity] = {
                "id": identity,
                "application_id": secrets.token_hex(32),
                "application_name": given["name"],
                "callback_url": given["redirect_uri"],
                "confidential": given.get("confidential", True),
                "scopes": given["scopes"].split(),
            }
        self.application_secrets[identity] = "gloas-" + secrets.token_hex(32)
        return {**self.applications[identity], "secret": self.application_secrets[identity]}

    def _user(self, _method, _rest, _numbers, given, _path):
        identity = next(self.numbers)
        facts = {"paused": False, "locked": False, "access_level": "not_protected"}
        self.runners[identity] = {"id": identity, "tag_list": [], **facts, **given}
        return {"id": identity, **self._new_runner_token(identity)}

    def _new_runner_token(self, identity: int) -> dict[str, Any]:
        self.runner_tokens[identity] = "glrt-" + secrets.token_urlsafe(16)
        return {"token": self.runner_tokens[identity], "token_expires_at": None}

    def _runners(self, method, rest, numbers, given, _path):
        if rest == "/runners/all":
            names = ("id", "description", "paused", "runner_type")
            return [{k: one[k] for k in names} for one in self.runners.values()]
        if rest == "/runners/verify":
            if given["token"] not in self.runner_tokens.values():
                raise HttpError(403)
            return {}
        if rest.endswith("reset_authentication_token"):
            return self._new_runner_token(numbers[0])
        if numbers[0] not in self.runners:
            raise HttpError(404)
        if method == "PUT":
            self.runners[numbers[0]].update(given)
        return self.runners[numbers[0]]

    def _groups(self, method, rest, numbers, given, path):
        if rest.endswith("/members") or "/members/" in rest:
            return self._group_members(method, numbers, given)
        if method == "POST":
            identity = next(self.numbers)
            self.groups[identity] = {"id": identity, "visibility": "private", **given}
            return self.groups[identity]
        found = [g for g in self.groups.values() if g["path"] == path or g["id"] in numbers]
        if not found:
            raise HttpError(404)
        if method == "PUT":
            found[0].update(given)
        return found[0]

    def _group_members(self, method, numbers, given):
        place = (numbers[0], numbers[1] if len(numbers) > 1 else given.get("user_id", 0))
        if method != "POST" and place not in self.members:
            raise HttpError(404)
        if method != "GET":
            self.members[place] = {"id": place[1], "access_level": given["access_level"]}
        return self.members[place]

    def _users(self, method, rest, numbers, given, _path):
        if rest == "/users" and method == "GET":
            return [u for u in self.users.values() if u["username"] == given["username"]]
        if rest == "/users":
            identity = next(self.numbers)
            facts = {k: given[k] for k in ("username", "name", "email")}
            self.users[identity] = {
                "id": identity, "state": "active", "is_admin": given.get("admin", False), **facts,
            }  # fmt: skip
            return self.users[identity]
        user = self.users[numbers[0]]
        if rest.endswith("/unblock"):
            user["state"] = "active"
            return {}
        if rest.endswith("/personal_access_tokens"):
            identity = next(self.numbers)
            self.token_values[identity] = "glpat-" + secrets.token_urlsafe(16)
            self.tokens[identity] = {
                "id": identity, "user_id": user["id"], "active": True, "revoked": False, **given,
            }  # fmt: skip
            return {**self.tokens[identity], "token": self.token_values[identity]}
        if method == "PUT":
            user.update({"is_admin" if k == "admin" else k: v for k, v in given.items()})
        return user

    def _personal_access_tokens(self, method, rest, numbers, given, _path):
        if rest.endswith("/self") and self._current is None:
            return {"id": 0, "name": "agency-bootstrap", "scopes": list(self.root_scopes)}
        if rest.endswith("/self"):
            return self.tokens[self._current]
        if method == "DELETE":
            self.tokens[numbers[0]].update({"active": False, "revoked": True})
            return None
        return [
            one for one in self.tokens.values()
            if one["active"] and str(one["user_id"]) == given["user_id"]
        ]  # fmt: skip

    def _token_of(self, value: str | None) -> int | None:
        for identity, known in self.token_values.items():
            if known == value and self.tokens[identity]["active"]:
                self._current = identity
                return identity
        return None


@contextmanager
def serve(state: SimulatedGitlab) -> Iterator[str]:
    """Serve it on loopback; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            if "json" in self.headers.get("Content-Type", ""):
                body = json.loads(raw or b"{}")
            else:
                body = dict(parse_qsl(raw.decode()))
            status, told = state.answer(self.command, self.path, self.headers, body)
            data = b"" if status == 204 else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - names that http.server calls

        def log_message(self, *_args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
