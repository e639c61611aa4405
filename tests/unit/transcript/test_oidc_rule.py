"""The rule for a log-in through an OpenID provider: what was seen holds, and nothing less does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agency.transcript.rules.v1.oidc import RULES

(RULE,) = RULES
Evidence = dict[str, Any]
AT_HOMESERVER, AT_PROVIDER = "homeserver", "provider"


def _step(at: str, method: str, path: str, status: int) -> Evidence:
    return {"at": at, "method": method, "path": path, "status": status}


# As a guest gave it.
GOOD: Evidence = {
    "provider": {
        "name": "oidc-provider",
        "version": "8.8.1",
        "kind": "certified provider package, not GitLab",
    },
    "issuer": "http://127.0.0.1:8026",
    "authorizationEndpoint": "http://127.0.0.1:8026/auth",
    "homeserver": "https://matrix.agency.example",
    "idp": "oidc-throwaway",
    "account": "member",
    "authorizationRequest": {
        "responseType": "code",
        "codeChallengeMethod": "S256",
        "codeChallengeLength": 43,
        "stateLength": 30,
        "nonceLength": 30,
    },
    "steps": [
        _step(AT_HOMESERVER, "GET", "/_matrix/client/v3/login", 200),
        _step(AT_HOMESERVER, "GET", "/_matrix/client/v3/login/sso/redirect/oidc-throwaway", 302),
        _step(AT_PROVIDER, "GET", "/auth", 303),
        _step(AT_PROVIDER, "GET", "/interaction/{id}", 200),
        _step(AT_PROVIDER, "POST", "/interaction/{id}/login", 303),
        _step(AT_PROVIDER, "GET", "/auth/{id}", 303),
        _step(AT_PROVIDER, "GET", "/interaction/{id}", 200),
        _step(AT_PROVIDER, "POST", "/interaction/{id}/consent", 303),
        _step(AT_PROVIDER, "GET", "/auth/{id}", 303),
        _step(AT_HOMESERVER, "GET", "/_synapse/client/oidc/callback", 200),
        _step(AT_HOMESERVER, "POST", "/_matrix/client/v3/login", 200),
        _step(AT_HOMESERVER, "GET", "/_matrix/client/v3/account/whoami", 200),
        _step(AT_HOMESERVER, "POST", "/_matrix/client/v3/logout", 200),
    ],
    "userId": "@member:agency.example",
    "deviceId": "KZDSTJNDHC",
    "refused": {
        "wrongPassword": {"status": 401, "reachedCallback": False},
        "tamperedState": {"status": 400, "errcode": "mismatching_session"},
    },
}
# Without these there was no log-in by authorisation code.
LANDMARKS = (0, 1, 2, 9, 10, 11)
ONE_OF_EACH_TYPE = (None, True, 7.5, [], {})


def fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from fields(inner, (*path, key))


def changed(path: tuple[str | int, ...], how: Callable[[Any, Any], None]) -> Evidence:
    whole = copy.deepcopy(GOOD)
    parent: Any = whole
    for part in path[:-1]:
        parent = parent[part]
    how(parent, path[-1])
    return whole


def put(path: tuple[str | int, ...], value: Any) -> Evidence:
    return changed(path, lambda parent, key: parent.__setitem__(key, value))


NAMED = [path for path in fields(GOOD) if isinstance(path[-1], str)]


def test_what_was_seen_holds() -> None:
    verdict = RULE.judge(GOOD)
    assert (verdict.ok, verdict.reason) == (True, "")
    assert RULE.mandatory_for("incus")
    assert not RULE.mandatory_for("local")


@pytest.mark.parametrize("path", NAMED, ids=str)
def test_every_field_must_be_there(path: tuple[str | int, ...]) -> None:
    assert not RULE.judge(changed(path, lambda parent, key: parent.pop(key))).ok


@pytest.mark.parametrize("path", NAMED, ids=str)
def test_every_field_has_its_type(path: tuple[str | int, ...]) -> None:
    good = GOOD
    for part in path:
        good = good[part]
    wrong = [value for value in ONE_OF_EACH_TYPE if type(value) is not type(good)]
    assert [value for value in wrong if RULE.judge(put(path, value)).ok] == []


@pytest.mark.parametrize("index", LANDMARKS)
def test_a_step_that_is_missing_is_named(index: int) -> None:
    verdict = RULE.judge(changed(("steps", index), lambda parent, key: parent.pop(key)))
    assert not verdict.ok
    assert "missing or out of its order" in verdict.reason


@pytest.mark.parametrize("index", LANDMARKS[:-1])
def test_steps_out_of_order_are_refused(index: int) -> None:
    whole = copy.deepcopy(GOOD)
    whole["steps"].append(whole["steps"].pop(index))
    assert not RULE.judge(whole).ok


@pytest.mark.parametrize("index", range(len(GOOD["steps"])))
@pytest.mark.parametrize("status", [199, 401, 404, 500, 0, -1])
def test_a_step_that_failed_is_refused(index: int, status: int) -> None:
    assert not RULE.judge(put(("steps", index, "status"), status)).ok


TAMPERED = {
    "another account": put(("userId",), "@alice:agency.example"),
    "another domain": put(("userId",), "@member:elsewhere.example"),
    "another homeserver": put(("homeserver",), "https://matrix.elsewhere.example"),
    "a homeserver without TLS": put(("homeserver",), "http://matrix.agency.example"),
    "an issuer elsewhere without TLS": {
        **GOOD,
        "issuer": "http://id.example",
        "authorizationEndpoint": "http://id.example/auth",
    },
    "another issuer": put(("issuer",), "http://127.0.0.1:9"),
    "a port that begins alike": put(("issuer",), "http://127.0.0.1:802"),
    "no PKCE": put(("authorizationRequest", "codeChallengeMethod"), None),
    "plain PKCE": put(("authorizationRequest", "codeChallengeMethod"), "plain"),
    "no challenge": put(("authorizationRequest", "codeChallengeLength"), 0),
    "no nonce": put(("authorizationRequest", "nonceLength"), 0),
    "no state": put(("authorizationRequest", "stateLength"), 0),
    "a token at once": put(("authorizationRequest", "responseType"), "token"),
    "an endpoint elsewhere": put(("authorizationEndpoint",), "http://127.0.0.1:9/auth"),
    "another endpoint": put(("authorizationEndpoint",), "http://127.0.0.1:8026/other"),
    "another provider of the homeserver": put(("idp",), "oidc-other"),
    "no provider of the homeserver": put(("idp",), "saml"),
    "a kind made up": put(("provider", "kind"), "certified"),
    "a version made up": put(("provider", "version"), "latest"),
    "a query in a path": put(("steps", 9, "path"), "/_synapse/client/oidc/callback?code=x"),
    "the provider's callback": put(("steps", 9, "at"), "provider"),
    "a placeholder": put(("deviceId",), "unknown"),
    "the wrong password was right": put(("refused", "wrongPassword", "status"), 303),
    "the form came again": put(("refused", "wrongPassword", "status"), 200),
    "the wrong password led back": put(("refused", "wrongPassword", "reachedCallback"), True),
    "the provider was broken": put(("refused", "wrongPassword", "status"), 500),
    "the state did not matter": put(("refused", "tamperedState", "status"), 200),
    "the state was followed": put(("refused", "tamperedState", "status"), 302),
    "another reason": put(("refused", "tamperedState", "errcode"), "missing_session"),
    "no reason": put(("refused", "tamperedState", "errcode"), None),
}


@pytest.mark.parametrize("evidence", TAMPERED.values(), ids=TAMPERED)
def test_what_was_tampered_with_is_refused(evidence: Evidence) -> None:
    verdict = RULE.judge(evidence)
    assert not verdict.ok
    assert verdict.reason


def test_a_provider_with_tls_elsewhere_holds() -> None:
    """So it is with GitLab."""
    whole = copy.deepcopy(GOOD)
    whole["provider"] = {"name": "gitlab", "version": "18.5.1", "kind": "GitLab"}
    whole["issuer"] = "https://gitlab.agency.example"
    whole["authorizationEndpoint"] = "https://gitlab.agency.example/oauth/authorize"
    whole["steps"][2]["path"] = "/oauth/authorize"
    assert RULE.judge(whole).ok
