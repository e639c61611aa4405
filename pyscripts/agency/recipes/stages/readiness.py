"""Readiness of an app: its own answer over HTTP, as `readiness.yaml` of its tests demands it.

Running containers are not enough: an app can run and never serve. The answer must come twice, so
that the last answer of a container that is ending does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.clock import Clock
from agency.errors import AgencyError, BadInputError
from agency.recipes.client import AppClient, UnreachableError
from agency.recipes.recipe.files import read_file
from agency.recipes.recipe.yaml_lines import read_yaml

FILE = "readiness.yaml"
_POLL_S = 0.5
_TIMES = 2
# Without a demand: an answer that is neither an error nor the 404 of a proxy without a route.
_DEFAULT = (200, 204, 301, 302, 303, 307, 308, 401)


class NotReadyError(AgencyError):
    """An app that runs and does not serve."""


class Readiness(BaseModel):
    """Demand of `readiness.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=500)] = "/"
    status: tuple[Annotated[int, Field(ge=100, le=599)], ...] = _DEFAULT
    contains: Annotated[str, Field(max_length=1000)] = ""
    within_s: Annotated[int, Field(ge=1, le=1800)] = 120

    def unmet(self, client: AppClient) -> str:
        """Ask once; return what is wrong, or nothing."""
        try:
            answer = client.get(self.path)
        except UnreachableError as error:
            return error.message
        if answer.status not in self.status:
            return f"status {answer.status}"
        if self.contains not in answer.text:
            return f"status {answer.status}, but {self.contains[:80]!r} is not in the answer"
        return ""


def read_readiness(tests: Path | None) -> Readiness:
    """Read `readiness.yaml` of a directory of tests; the default where there is none.

    Raises:
        BadInputError: it is malformed.
    """
    text = read_file(tests, FILE, missing="") if tests else ""
    if not text.strip():
        return Readiness()
    data = read_yaml(text, FILE).data
    try:
        return Readiness.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInputError(
            f"{field}: {first['msg']}",
            where=f"{tests}/{FILE}",
            hint="known are path, status, contains, within_s",
        ) from error


def wait_ready(
    wanted: Readiness, client: AppClient, clock: Clock, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until the app answers as demanded, twice.

    Raises:
        NotReadyError: it does not in time; the message has the last answer.
    """
    deadline = clock.steady() + wanted.within_s
    good, unmet = 0, "no answer"
    while good < _TIMES:
        unmet = wanted.unmet(client) or ""
        good = 0 if unmet else good + 1
        if unmet and clock.steady() >= deadline:
            raise NotReadyError(
                f"not ready after {wanted.within_s} s: {unmet}",
                where=f"{client.route.scheme}://{client.domain}{wanted.path}",
                hint="read the log of its services: logs/services.log",
            )
        if good < _TIMES:
            sleep(_POLL_S)
