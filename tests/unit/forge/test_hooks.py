"""Calls of hooks: what proves them, and what they tell, in GitLab's words and in Gitea's."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import AgencyError
from agency.forge import Comment, HookEvent, HookRefusedError, User, read_hook
from agency.forge.hooks import MAX_BODY

SECRET = "hooks-own-secret"
SAID = Comment(70, User(8, "alice"), "!testme")
# The fields of GitLab's doc/user/project/integrations/webhook_events.md that are read.
NOTE = {
    "object_kind": "note",
    "user": {"id": 8, "username": "alice"},
    "project": {"path_with_namespace": "team/app"},
    "object_attributes": {
        "id": 70,
        "note": "!testme",
        "noteable_type": "MergeRequest",
        "action": "create",
    },
    "merge_request": {"iid": 5},
}
COMMENT = {
    "action": "created",
    "is_pull": True,
    "issue": {"number": 5},
    "comment": {
        "id": 70,
        "body": "!testme",
        "user": {"id": 8, "login": "alice"},
        "created_at": "2026-01-01T12:00:00Z",
        "updated_at": "2026-01-01T12:00:00Z",
    },
    "repository": {"full_name": "team/app"},
}


def gitlab(event: str, body: Any, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    headers = {"x-gitlab-event": event, "x-gitlab-token": secret, "idempotency-key": "d-1"}
    return headers, json.dumps(body).encode()


def gitea(event: str, body: Any, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    data = json.dumps(body).encode()
    signed = hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()
    headers = {"x-gitea-event": event, "x-gitea-signature": signed, "x-gitea-delivery": "d-1"}
    return headers, data


@pytest.mark.parametrize(
    "call", [gitlab("Note Hook", NOTE), gitea("issue_comment", COMMENT)], ids=["gitlab", "gitea"]
)
def test_a_comment_has_one_set_of_words(call):
    told = read_hook(*call, SECRET)
    assert told is not None
    assert (told.event, told.project, told.number) == (HookEvent.COMMENT, "team/app", 5)
    assert (told.action, told.delivery) == ("created", "d-1")
    assert told.comment is not None
    assert replace(told.comment, created=None, updated=None) == SAID


@pytest.mark.parametrize(
    "call",
    [
        gitlab("Push Hook", {"ref": "refs/heads/x", "project": NOTE["project"]}),
        gitea("push", {"ref": "refs/heads/x", "repository": COMMENT["repository"]}),
    ],
    ids=["gitlab", "gitea"],
)
def test_a_push_tells_its_ref(call):
    told = read_hook(*call, SECRET)
    assert told is not None
    assert (told.event, told.ref) == (HookEvent.PUSH, "refs/heads/x")


@pytest.mark.parametrize(
    "call",
    [
        gitlab("Pipeline Hook", {}),
        gitea("release", {}),
        gitea("issue_comment", COMMENT | {"is_pull": False}),
        gitlab("Note Hook", NOTE | {"object_attributes": {"noteable_type": "Commit"}}),
    ],
    ids=["gitlab's other", "gitea's other", "gitea's issue", "gitlab's commit"],
)
def test_other_events_are_none(call):
    assert read_hook(*call, SECRET) is None


@pytest.mark.parametrize("make", [gitlab, gitea])
def test_another_secret_proves_nothing(make):
    event = "Note Hook" if make is gitlab else "issue_comment"
    with pytest.raises(HookRefusedError, match="not proved"):
        read_hook(*make(event, NOTE, "another"), SECRET)


def test_a_hook_without_a_secret_is_refused_even_if_the_forge_has_none_either():
    for call in (gitlab("Note Hook", NOTE, ""), gitea("issue_comment", COMMENT, "")):
        with pytest.raises(HookRefusedError, match="no secret"):
            read_hook(*call, "")


def test_no_proof_and_two_proofs_are_refused():
    headers, body = gitlab("Note Hook", NOTE)
    with pytest.raises(HookRefusedError, match="no proof, or two"):
        read_hook({"x-gitlab-event": "Note Hook"}, body, SECRET)
    both = headers | gitea("issue_comment", NOTE)[0]
    with pytest.raises(HookRefusedError, match="no proof, or two"):
        read_hook(both, body, SECRET)


def test_a_body_that_is_too_large_or_no_object_is_refused():
    for body in ("x" * MAX_BODY, ["x"], "x"):
        with pytest.raises(HookRefusedError):
            read_hook(*gitea("push", body), SECRET)
    headers, _ = gitlab("Push Hook", {})
    for data in (b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(HookRefusedError):
            read_hook(headers, data, SECRET)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*NOTE, *COMMENT, "id", "body", "note", "user", "login", "number", "iid"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=_JSON, event=st.sampled_from(["Note Hook", "Merge Request Hook", "Push Hook"]))
def test_any_proved_body_is_read_or_refused(body, event):
    for call in (gitlab(event, body), gitea("issue_comment", body), gitea("pull_request", body)):
        try:
            read_hook(*call, SECRET)
        except AgencyError:
            continue
