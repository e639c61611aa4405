"""Calls of a forge's hooks: proved by the hook's secret, then read into one set of words.

Gitea signs the body (`X-Gitea-Signature`: HMAC-SHA256, in hexadecimal digits). GitLab sends the
secret itself (`X-Gitlab-Token`). Sources: Gitea's doc usage/webhooks, GitLab's
doc/user/project/integrations/webhooks.md and webhook_events.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agency.errors import AgencyError
from agency.forge.contract import Comment, HookEvent, User
from agency.forge.errors import field_of, moment_of

MAX_BODY = 1024 * 1024
_GITEA_EVENTS = {
    "push": HookEvent.PUSH,
    "pull_request": HookEvent.MERGE_REQUEST,
    "pull_request_sync": HookEvent.MERGE_REQUEST,
    "issue_comment": HookEvent.COMMENT,
    "pull_request_comment": HookEvent.COMMENT,
}
_GITLAB_EVENTS = {
    "Push Hook": HookEvent.PUSH,
    "Merge Request Hook": HookEvent.MERGE_REQUEST,
    "Note Hook": HookEvent.COMMENT,
}
_GITLAB_ACTIONS = {"create": "created", "update": "edited", "open": "opened", "close": "closed"}


class HookRefusedError(AgencyError):
    """A call that does not prove itself, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Told:
    """A hook's message; read the forge before acting on it, as a call may come late.

    `delivery` is the same in a call that is repeated. `number` and `comment` are there where the
    event is about a merge request or a comment. `action` is a word such as `created`.
    """

    event: HookEvent
    project: str
    delivery: str
    action: str = ""
    number: int | None = None
    comment: Comment | None = None
    ref: str | None = None


def read_hook(headers: Mapping[str, str], body: bytes, secret: str) -> Told | None:
    """Read a call of a hook of GitLab or Gitea; None for an event that is none of `HookEvent`.

    `headers` has names in lower case. A comment on an issue, or on a commit, is no event either.

    Raises:
        HookRefusedError: `secret` does not prove the call, or the body is no such event.
        ForgeError: the event lacks a field.
    """
    if len(body) > MAX_BODY:
        raise HookRefusedError(f"the hook's body has more than {MAX_BODY} bytes", where="hook")
    kind = _proved(headers, body, secret)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HookRefusedError("the hook's body is no JSON", where="hook") from None
    if not isinstance(found, dict):
        raise HookRefusedError("the hook's body is no JSON object", where="hook")
    return _gitea(headers, found) if kind == "gitea" else _gitlab(headers, found)


def _proved(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Return which forge called, once its call is proved."""
    if not secret:
        raise HookRefusedError("the hook has no secret, so nothing proves its calls", where="hook")
    signed, told = headers.get("x-gitea-signature"), headers.get("x-gitlab-token")
    if (signed is None) == (told is None):
        raise HookRefusedError(
            "the call has no proof, or two",
            where="hook",
            hint="set the hook's secret at the forge",
        )
    if signed is not None:
        right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        good = hmac.compare_digest(signed.encode(), right.encode())
    else:
        good = hmac.compare_digest((told or "").encode(), secret.encode())
    if not good:
        raise HookRefusedError(
            "the call is not proved by the hook's secret",
            where="hook",
            hint="set the same secret at the forge and here",
        )
    return "gitea" if signed is not None else "gitlab"


def _gitea(headers: Mapping[str, str], found: Mapping[str, Any]) -> Told | None:
    event = _GITEA_EVENTS.get(headers.get("x-gitea-event", ""))
    project = field_of(found, str, "repository", "full_name") if event else ""
    delivery = headers.get("x-gitea-delivery", "")
    if event is HookEvent.PUSH:
        return Told(event, project, delivery, ref=field_of(found, str, "ref"))
    if event is HookEvent.MERGE_REQUEST:
        number = field_of(found, int, "number")
        return Told(event, project, delivery, field_of(found, str, "action"), number)
    if event is HookEvent.COMMENT and found.get("is_pull") is True:
        said = found.get("comment") or {}
        author = said.get("user") or {}
        comment = Comment(
            field_of(said, int, "id"),
            User(field_of(author, int, "id"), field_of(author, str, "login")),
            field_of(said, str, "body"),
            moment_of(said, "created_at"),
            moment_of(said, "updated_at"),
        )
        number = field_of(found, int, "issue", "number")
        return Told(event, project, delivery, field_of(found, str, "action"), number, comment)
    return None


def _gitlab(headers: Mapping[str, str], found: Mapping[str, Any]) -> Told | None:
    event = _GITLAB_EVENTS.get(headers.get("x-gitlab-event", ""))
    project = field_of(found, str, "project", "path_with_namespace") if event else ""
    delivery = headers.get("idempotency-key") or headers.get("x-gitlab-event-uuid", "")
    if event is HookEvent.PUSH:
        return Told(event, project, delivery, ref=field_of(found, str, "ref"))
    said = found.get("object_attributes") or {}
    action = said.get("action") or ""
    action = _GITLAB_ACTIONS.get(action, action)
    if event is HookEvent.MERGE_REQUEST:
        return Told(event, project, delivery, action, field_of(said, int, "iid"))
    if event is HookEvent.COMMENT and said.get("noteable_type") == "MergeRequest":
        author = User(field_of(found, int, "user", "id"), field_of(found, str, "user", "username"))
        comment = Comment(field_of(said, int, "id"), author, field_of(said, str, "note"))
        number = field_of(found, int, "merge_request", "iid")
        return Told(event, project, delivery, action, number, comment)
    return None
