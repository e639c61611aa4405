"""The calls of GitLab's REST API that the bootstrap makes, and nothing of what it wants.

Paths, parameters and fields are those of GitLab's own OpenAPI description
(doc/api/openapi/openapi_v2.yaml) and, for users, of doc/api/users.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gitlab
import requests

from agency.errors import AgencyError, PrerequisiteError
from agency.reconcile.engine.contract import ReconcileError
from agency.secrets.names import GITLAB_ROOT_PASSWORD
from agency.secrets.values import SecretValue

_TIMEOUT_S = 30.0
_POLL_S = 1.0
_STARTING = (502, 503, 504)


class GitlabError(ReconcileError):
    """GitLab refused; `status` is that of HTTP."""

    def __init__(self, message: str, *, where: str, status: int | None) -> None:
        super().__init__(message, where=where)
        self.status = status


@dataclass(frozen=True, slots=True)
class GitlabApi:
    """An administrator's view of one GitLab."""

    url: str
    client: gitlab.Gitlab

    def get(self, path: str) -> dict[str, Any] | None:
        """One object; None when there is none."""
        try:
            return _object(self._call("GET", path, lambda: self.client.http_get(path)))
        except GitlabError as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, query: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """All objects, of all pages."""

        def fetch() -> Any:
            return list(self.client.http_list(path, query_data=dict(query or {}), get_all=True))

        return [_object(one) for one in self._call("GET", path, fetch)]

    def post(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Create or do something."""
        return _object(
            self._call(
                "POST", path, lambda: self.client.http_post(path, post_data=dict(data or {}))
            )
        )

    def put(self, path: str, data: Mapping[str, Any]) -> None:
        """Change something."""
        self._call("PUT", path, lambda: self.client.http_put(path, post_data=dict(data)))

    def delete(self, path: str) -> None:
        """Remove something."""
        self._call("DELETE", path, lambda: self.client.http_delete(path))

    def runner_token_works(self, token: str) -> bool:
        """Whether a runner could log in with `token`."""
        try:
            path = "/runners/verify"
            self._call(
                "POST", path, lambda: self.client.http_post(path, post_data={"token": token})
            )
        except GitlabError as error:
            if error.status == 403:
                return False
            raise
        return True

    def token_facts(self, token: str) -> dict[str, Any] | None:
        """What GitLab says of a personal access token; None when it does not take it."""
        path = "/api/v4/personal_access_tokens/self"
        with _reached(self.url):
            answer = requests.get(
                self.url + path,
                headers={"PRIVATE-TOKEN": token},
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
        if answer.status_code == 401:
            return None
        if answer.status_code != 200:
            raise GitlabError(
                f"HTTP {answer.status_code}", where=f"GET {path}", status=answer.status_code
            )
        return _object(answer.json())

    def _call(self, method: str, path: str, call: Callable[[], Any]) -> Any:
        where = f"{method} {path}"
        with _reached(self.url):
            try:
                return call()
            except gitlab.GitlabHttpError as error:
                status = error.response_code
                raise GitlabError(f"HTTP {status}", where=where, status=status) from None
            except gitlab.GitlabError as error:
                raise GitlabError(type(error).__name__, where=where, status=None) from None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise PrerequisiteError(
            f"GitLab does not answer: {type(error).__name__}",
            where=url,
            hint="see whether it runs: systemctl status gitlab",
        ) from None  # the cause would quote the request


@contextmanager
def logged_in(url: str, user: str, password: SecretValue, *, ready_s: float) -> Iterator[GitlabApi]:
    """Log in as an administrator for the time of the block; the access is revoked after it.

    GitLab takes minutes to start: it is waited for, at most `ready_s` seconds.
    Source: doc/api/oauth2.md, "Resource owner password credentials flow".

    Raises:
        PrerequisiteError: GitLab does not answer, or does not let this user in.
    """
    token = _token(url, user, password, ready_s)
    try:
        yield GitlabApi(url, gitlab.Gitlab(url, oauth_token=token, timeout=_TIMEOUT_S))
    finally:
        with _reached(url):
            requests.post(f"{url}/oauth/revoke", data={"token": token}, timeout=_TIMEOUT_S)


def _token(url: str, user: str, password: SecretValue, ready_s: float) -> str:
    deadline = time.monotonic() + ready_s
    while True:
        try:
            return _asked_token(url, user, password)
        except PrerequisiteError as error:
            if not isinstance(error, _NotReadyError) or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


class _NotReadyError(PrerequisiteError):
    """GitLab may answer later."""


def _asked_token(url: str, user: str, password: SecretValue) -> str:
    form = {"grant_type": "password", "username": user, "password": password.reveal()}
    try:
        answer = requests.post(
            f"{url}/oauth/token", data=form, timeout=_TIMEOUT_S, allow_redirects=False
        )
    except requests.RequestException as error:
        raise _NotReadyError(
            f"GitLab does not answer: {type(error).__name__}",
            where=url,
            hint="see whether it runs: systemctl status gitlab",
        ) from None
    if answer.status_code in _STARTING:
        raise _NotReadyError(
            f"GitLab is still starting (HTTP {answer.status_code})",
            where=url,
            hint="see what it does: journalctl -u gitlab",
        )
    if answer.status_code != 200:
        raise PrerequisiteError(
            f"GitLab does not let {user} in (HTTP {answer.status_code})",
            where=f"{url}/oauth/token",
            hint=f"the password must be that of {GITLAB_ROOT_PASSWORD}; if it was changed "
            "in GitLab, set it back there or put the new one into the encrypted secrets",
        )
    token = _object(answer.json()).get("access_token")
    if not isinstance(token, str):
        raise AgencyError("GitLab answered without a token", where=f"{url}/oauth/token")
    return token
