"""GitLab's REST API through python-gitlab, with one error type.

Paths, parameters and fields are those of GitLab's own OpenAPI description
(doc/api/openapi/openapi_v2.yaml) and, for users, of doc/api/users.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import gitlab
import requests

from agency.errors import PrerequisiteError
from agency.forge.errors import (
    ForgeError,
    ForgeTooLargeError,
    ForgeUnreachableError,
    date_of,
)
from agency.forge.gitlab.session import TIMEOUT_S, AnswerTooLongError, BoundedSession

_POLL_S = 1.0
_STARTING = (502, 503, 504)
_SELF = "/api/v4/personal_access_tokens/self"


class GitlabError(ForgeError):
    """A call that GitLab refused."""


@dataclass(frozen=True, slots=True)
class GitlabApi:
    """GitLab, as the user of the client's token sees it."""

    url: str
    client: gitlab.Gitlab

    def get(self, path: str) -> dict[str, Any] | None:
        """Read one object; None when there is none."""
        try:
            found = self._call("GET", path, lambda: self.client.http_get(path))
            return _object(found, f"GET {path}")
        except GitlabError as error:
            if error.status == 404:
                return None
            raise

    def date(self, path: str) -> datetime:
        """Make a reading call for the moment at which it is answered, by GitLab's clock."""
        found = self._call("GET", path, lambda: self.client.http_get(path, raw=True))
        return date_of(getattr(found, "headers", {}), f"GET {path}")

    def page(
        self, path: str, query: Mapping[str, Any], page: int, size: int
    ) -> list[dict[str, Any]]:
        """Read the objects of one page.

        Raises:
            ForgeTooLargeError: the page is larger than an answer may be.
        """
        asked = {**query, "page": page, "per_page": size}
        found = self._call(
            "GET", path, lambda: self.client.http_list(path, query_data=asked, get_all=False)
        )
        return [_object(one, f"GET {path}") for one in found]

    def list(
        self, path: str, query: Mapping[str, Any] | None = None, *, most: int | None = None
    ) -> list[dict[str, Any]]:
        """Read the objects of all pages; of a long list, the first `most`."""

        def fetch() -> Any:
            pages = self.client.http_list(path, query_data=dict(query or {}), iterator=True)
            return list(islice(pages, most))

        return [_object(one, f"GET {path}") for one in self._call("GET", path, fetch)]

    def post(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Create an object or start an action; empty where GitLab returns no body."""
        done = self._call(
            "POST", path, lambda: self.client.http_post(path, post_data=dict(data or {}))
        )
        if isinstance(done, requests.Response) and done.content:
            raise _unlike(f"POST {path}", done.status_code)
        return done if isinstance(done, dict) else {}

    def put(self, path: str, data: Mapping[str, Any]) -> None:
        """Change an object."""
        self._call("PUT", path, lambda: self.client.http_put(path, post_data=dict(data)))

    def delete(self, path: str) -> None:
        """Remove an object."""
        self._call("DELETE", path, lambda: self.client.http_delete(path))

    def runner_token_works(self, token: str) -> bool:
        """Ask whether a runner could log in with `token`."""
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
        """Read the facts of a personal access token; None when GitLab does not accept it."""
        answer = _ask_about(self.url, token)
        if answer.status_code == 401:
            return None
        if answer.status_code != 200:
            raise GitlabError(
                f"HTTP {answer.status_code}", where=f"GET {_SELF}", status=answer.status_code
            )
        return _object(_json(answer), f"GET {_SELF}")

    def _call(self, method: str, path: str, call: Callable[[], Any]) -> Any:
        where = f"{method} {path}"
        with _reached(self.url):
            try:
                return call()
            except gitlab.GitlabError as error:
                status = error.response_code
                told = type(error).__name__ if status is None else f"HTTP {status}"
                raise GitlabError(told, where=where, status=status) from None


def _object(value: Any, where: str) -> dict[str, Any]:
    # For what is no JSON, python-gitlab returns the whole response.
    if not isinstance(value, dict):
        raise _unlike(where, getattr(value, "status_code", 200))
    return value


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer


def _unlike(where: str, status: int) -> GitlabError:
    return GitlabError(f"HTTP {status} without a JSON object", where=where, status=status)


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except AnswerTooLongError as error:
        raise ForgeTooLargeError(f"the answer has {error}", where=url) from None
    except requests.RequestException as error:
        raise ForgeUnreachableError(
            f"GitLab does not answer: {type(error).__name__}",
            where=url,
            hint="see whether it runs: systemctl status gitlab",
        ) from None  # the cause would quote the request


def _ask_about(url: str, token: str) -> requests.Response:
    """Ask GitLab for the facts of a personal access token, with that token."""
    with _reached(url), BoundedSession() as session:
        return session.get(f"{url}{_SELF}", headers={"PRIVATE-TOKEN": token}, timeout=TIMEOUT_S)


@contextmanager
def administered(url: str, token: str, *, ready_s: float) -> Iterator[GitlabApi]:
    """Use GitLab as the administrator whose personal access token this is.

    GitLab takes minutes to start: this waits for it, at most `ready_s` seconds.

    Raises:
        PrerequisiteError: GitLab does not answer, or does not accept the token.
    """
    _wait(url, token, ready_s)
    with BoundedSession() as session:
        yield GitlabApi(
            url, gitlab.Gitlab(url, private_token=token, timeout=TIMEOUT_S, session=session)
        )


def _wait(url: str, token: str, ready_s: float) -> None:
    deadline = time.monotonic() + ready_s
    while True:
        try:
            return _checked(url, token)
        except ForgeUnreachableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def _checked(url: str, token: str) -> None:
    answer = _ask_about(url, token)
    if answer.status_code in _STARTING:
        raise ForgeUnreachableError(
            f"GitLab is still starting (HTTP {answer.status_code})",
            where=url,
            hint="see what it does: journalctl -u gitlab",
        )
    if answer.status_code != 200:
        raise PrerequisiteError(
            f"GitLab does not accept the administrator's token (HTTP {answer.status_code})",
            where=f"{url}{_SELF}",
            hint="have it made again: rm /run/gitlab-admin-token/token, then "
            "systemctl start agency-reconcile-gitlab-bootstrap",
        )
    scopes = _object(_json(answer), f"GET {_SELF}").get("scopes")
    if not isinstance(scopes, list) or "api" not in scopes:
        raise PrerequisiteError(
            "the administrator's token has not the scope api", where=f"{url}{_SELF}"
        )
