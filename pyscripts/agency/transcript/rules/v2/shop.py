"""Rules of the shop: every service that an instance enables, as its machine shows it.

shop.services: what the instance enables, and what of it is on the machine
      │
      ▼
REQUIRED: the probes of each service ──▶ gate `shop`: each there once, observed, held, of this
                                         instance; what is absent is named
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from agency.transcript.rules.v1.model import Target
from agency.transcript.rules.v1.rule import All, ProbeRule, Seen, Sha256, Shape, Some
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.rules.v2.shop_shapes import (
    Ci,
    Element,
    Gitlab,
    Grafana,
    Handshake,
    K3s,
    Login,
    Metrics,
    Owner,
    Page,
    PageName,
    Registry,
    Runner,
    Swarm,
)

SERVICES = "shop.services"
METRICS = "metrics.scraped"
LOGIN = "oidc.login"

# The probes that a service must show. What v1 already judges is not looked at a second time.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "matrix": ("homeserver.versions", "control.ready"),
    "edge": ("shop.edge",),
    "element": ("shop.element",),
    "gitlab": ("shop.gitlab",),
    "registry": ("shop.registry",),
    "runner": ("shop.runner",),
    "grafana": ("shop.grafana",),
    "prometheus": (METRICS,),
    "k3s": ("shop.k3s",),
    "swarm": ("shop.swarm",),
    "traefik": ("shop.traefik",),
    "ci": ("shop.ci",),
    "bridge": ("shop.bridge",),
    "dashboard": ("shop.dashboard",),
}
ServiceName = Literal[
    "matrix",
    "edge",
    "element",
    "gitlab",
    "registry",
    "runner",
    "grafana",
    "prometheus",
    "k3s",
    "swarm",
    "traefik",
    "ci",
    "bridge",
    "dashboard",
]

_ABSENT = ("inactive",)  # the states of a unit that nothing started, or that was stopped
_WATCHED: frozenset[Target] = frozenset(("incus", "ssh"))


class Listed(Shape):
    """One enabled service, and the unit by which it is known to be on the machine."""

    service: ServiceName
    unit: Seen
    load: Seen
    active: Seen
    here: bool
    why: str

    @model_validator(mode="after")
    def _is_where_its_unit_is(self) -> Self:
        if self.here != (self.load == "loaded" and self.active not in _ABSENT):
            raise ValueError(f"here: not as the unit of {self.service} is")
        if not self.here and not self.why.strip():
            raise ValueError(f"why: nothing says why {self.service} is absent")
        return self


class Services(Shape):
    """All that an instance enables; `rendered` is the digest of that instance."""

    instance: Owner
    rendered: Sha256
    services: Some[Listed]
    pages: All[PageName]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for what in ([one.service for one in self.services], list(self.pages)):
            if len(set(what)) != len(what):
                raise ValueError("services: one is there twice")
        return self

    @model_validator(mode="after")
    def _pages_of_the_forge(self) -> Self:
        names = {one.service for one in self.services}
        forge = "gitlab" in names
        if self.pages and not forge:
            raise ValueError("pages: without a forge, nobody logs in with an account of it")
        missing = ({"matrix", "grafana"} & names) - {*self.pages} if forge else set()
        if missing:
            raise ValueError(f"pages: lacks {min(missing)}")
        return self


def _rule(name: str, description: str, shape: type[Shape]) -> ProbeRule:
    return ProbeRule(name, description, shape, frozenset())


RULES = (
    ProbeRule(
        SERVICES,
        "The services that the instance enables, each on the machine or absent with the reason.",
        Services,
        _WATCHED,
    ),
    _rule("shop.edge", "The edge's TLS for a name of the instance.", Handshake),
    _rule("shop.element", "Element is served, and its homeserver is the instance's.", Element),
    _rule("shop.gitlab", "GitLab is alive and ready down to its database.", Gitlab),
    _rule("shop.registry", "The registry sends strangers to the instance's GitLab.", Registry),
    _rule("shop.runner", "GitLab sees the instance's runners online.", Runner),
    _rule("shop.grafana", "Grafana answers, and so does its database.", Grafana),
    _rule("shop.k3s", "The cluster's API is ready, and so is every node.", K3s),
    _rule("shop.swarm", "Docker is a swarm that this machine manages.", Swarm),
    _rule("shop.traefik", "Traefik's TLS for a name of the instance.", Handshake),
    _rule("shop.ci", "The engine of recipe CI runs and answers.", Ci),
    _rule("shop.bridge", "The comment bridge says that it is well.", Page),
    _rule("shop.dashboard", "The dashboard says that it is well.", Page),
    _rule(
        METRICS,
        "Every scrape target answers, and an agent's CPU and memory are read back from Prometheus.",
        Metrics,
    ),
    _rule(LOGIN, "A test user logs in by OpenID Connect to every enabled page.", Login),
)


def lacking(predicate: Predicate, problem: Callable[[str], str | None]) -> Iterator[str]:
    """Yield what the gate `shop` lacks; `problem` judges one probe of the transcript.

    Evidence of `shop.services` that its own rule refuses is not read.
    """
    seen = {entry.name: entry.evidence for entry in predicate.probes}
    refused = problem(SERVICES)
    if refused is not None:
        yield refused
        return
    shop = Services.model_validate(seen[SERVICES])
    for one in shop.services:
        if not one.here:
            yield f"{one.service} is absent: {one.why}"
            continue
        for probe in REQUIRED[one.service]:
            found = problem(probe) or _of_another(shop, probe, seen[probe])
            if found is not None:
                yield f"{one.service}: {found}"
    if shop.pages:
        found = problem(LOGIN) or _of_another(shop, LOGIN, seen[LOGIN])
        yield from [found] if found else _login_lacks(shop, Login.model_validate(seen[LOGIN]))


def _login_lacks(shop: Services, login: Login) -> Iterator[str]:
    missing = {*shop.pages} - {one.page for one in login.pages}
    if missing:
        yield f"{LOGIN}: no log-in to {', '.join(sorted(missing))}"
    if login.kind != "GitLab":
        yield f"{LOGIN}: by a {login.kind}"


def _of_another(shop: Services, probe: str, evidence: Mapping[str, Any]) -> str | None:
    """Return the reason why evidence is of another instance; v1's name their own by links."""
    if probe not in {rule.name for rule in RULES}:
        return None
    owner = Owner.model_validate(evidence["instance"])
    if owner != shop.instance:
        return f"{probe}: of another instance: {owner.name} at {owner.domain}"
    return None


def other_instance(services: Mapping[str, Any], predicate: Predicate) -> str | None:
    """Return the first evidence of the shop that is of another instance than `shop.services`."""
    own = {rule.name for rule in RULES}
    for entry in predicate.probes:
        owner = entry.evidence.get("instance") if entry.name in own else None
        if owner is not None and owner != services["instance"]:
            return f"{entry.name}: of another instance than {SERVICES}"
    return None


def broken_digest(evidence: Mapping[str, Any], digest: str | None) -> str | None:
    """Return the reason why a list of services is not that of the instance with this digest."""
    rendered = evidence.get(SERVICES, {}).get("rendered")
    if rendered is not None and rendered != digest:
        return f"the subject instance is not the one whose services {SERVICES} lists"
    return None
