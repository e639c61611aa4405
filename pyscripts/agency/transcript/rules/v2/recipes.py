"""Rule of recipe CI: its reconcilers converge, and its services are well."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency.transcript.rules.v1.rule import (
    Count,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    Version,
    matches,
)
from agency.transcript.rules.v2.shop_shapes import Good, Shown

UNITS = frozenset(
    (
        *("docker.service", "agency-bridge.service", "agency-dashboard.service"),
        "agency-runner.service",
    )
)
RECONCILERS = ("swarm-init", "proxy-network", "traefik")
PAGES = frozenset(("bridge", "dashboard", "runner"))
NETWORK = "proxy"
_STACK_NAME = 45
_ABRA = re.compile(r"abra version \d+\.\d+\.\d+\S*( .*)?\Z")
_CHANGED = r"{name}: [1-9][0-9]* changed, nothing differs any more"
_UNCHANGED = "{name}: nothing differs"


def is_abra(version: str) -> bool:
    """Return whether this is what the real abra says for its version: a stand-in says another."""
    return _ABRA.match(version) is not None


class Run(Shape):
    """A run of a reconciler, by the last that it said."""

    invocation: Annotated[Seen, matches(r"[0-9a-f]{32}", "an id of systemd's")]
    said: Seen


class Reconciler(Shape):
    """A reconciler's runs, the oldest first: one changed something, the last one nothing."""

    name: Literal["swarm-init", "proxy-network", "traefik"]
    unit: Seen
    result: Literal["success"]
    runs: Some[Run]

    @model_validator(mode="after")
    def _converged(self) -> Self:
        if self.unit != f"agency-reconcile-{self.name}.service":
            raise ValueError("unit: of another reconciler")
        changed = re.compile(_CHANGED.format(name=self.name) + r"\Z")
        if not any(changed.match(run.said) for run in self.runs[:-1]):
            raise ValueError("runs: none has changed anything, so nothing was made here")
        if self.runs[-1].said != _UNCHANGED.format(name=self.name):
            raise ValueError(f"runs: the last one said {self.runs[-1].said!r}")
        return self


class Network(Shape):
    """A network of Docker's."""

    id: Seen
    name: Seen
    driver: Seen
    scope: Seen


class Service(Shape):
    """A service on the swarm, with the number of its tasks that run, and its networks' ids."""

    name: Seen
    image: Seen
    running: Count
    networks: Some[Seen]


class Page(Good):
    """The health of a service of ours."""

    name: Literal["bridge", "dashboard", "runner"]
    digest: Sha256


class Looks(Shape):
    """The bridge's looks at the forge, which a guest does not have: any number may have failed."""

    done: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]


class Abra(Shape):
    """The program that deployed Traefik, by its own words."""

    version: Seen
    digest: Sha256


class Converged(Shown):
    """Recipe CI on its machine, from the swarm to the pages."""

    reconcilers: Some[Reconciler]
    version: Version
    networks: Some[Network]
    services: Some[Service]
    pages: Some[Page]
    looks: Looks
    abra: Abra

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = sorted(UNITS - {unit.name for unit in self.units})
        if missing:
            raise ValueError(f"units: lack {', '.join(missing)}")
        if tuple(one.name for one in self.reconcilers) != RECONCILERS:
            raise ValueError(f"reconcilers: not {', '.join(RECONCILERS)}")
        unasked = sorted(PAGES - {page.name for page in self.pages})
        if unasked:
            raise ValueError(f"pages: lack {', '.join(unasked)}")
        return self

    @model_validator(mode="after")
    def _proxied(self) -> Self:
        ours = [one for one in self.networks if one.name == NETWORK]
        if [(one.driver, one.scope) for one in ours] != [("overlay", "swarm")]:
            raise ValueError(f"networks: lack one overlay of the swarm with the name {NETWORK}")
        # As abra names a stack.
        stack = f"traefik.{self.instance.domain}".replace(".", "_")[:_STACK_NAME]
        proxies = [one for one in self.services if one.name == f"{stack}_app"]
        if len(proxies) != 1:
            raise ValueError(f"services: lack {stack}_app")
        if ours[0].id not in proxies[0].networks:
            raise ValueError(f"services: {stack}_app is not in the network {NETWORK}")
        return self


RULES = (
    ProbeRule(
        "recipes.converged",
        "The reconcilers make the swarm, its network and Traefik, and a second run of each changes "
        "nothing; the bridge, the runner and the dashboard say that they are well.",
        Converged,
        frozenset(),
    ),
)
