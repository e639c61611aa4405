"""Shapes of the evidence of the shop: one a service, with the instance of its machine."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agency import naming
from agency.transcript.rules.v1.rule import (
    Count,
    Http200,
    Http401,
    Name,
    No,
    Seen,
    Sha256,
    Shape,
    Some,
    Url,
    Version,
    Yes,
)

RUNNERS = frozenset(("agency: protected branches", "agency: merge requests"))
MAX_AGE_S = 120.0  # of a sample: a few scrapes may have been missed
PageName = Literal["matrix", "grafana", "drone", "woodpecker"]


class Owner(Shape):
    """The instance of a machine, as its own settings name it."""

    name: Name
    domain: Seen


class RunningUnit(Shape):
    """A unit that runs, or a socket that is listened on."""

    name: Seen
    load: Literal["loaded"]
    active: Literal["active"]
    sub: Seen


class Shown(Shape):
    """Facts that every service shows: whose machine it is on, and its units."""

    instance: Owner
    units: Some[RunningUnit]


class Answer(Shape):
    """An answer to a question on loopback."""

    url: Url
    status: Annotated[int, Field(ge=100, lt=600)]

    @model_validator(mode="after")
    def _is_of_this_machine(self) -> Self:
        if urlsplit(self.url).hostname != "127.0.0.1":
            raise ValueError("url: not on loopback")
        return self


class Good(Answer):
    """An answer that says that all is well."""

    status: Http200


class Readiness(Good):
    """GitLab's own checks, by name; `all=1` asks for those of database, cache and Gitaly too."""

    checks: dict[str, Literal["ok"]]

    @model_validator(mode="after")
    def _reach_the_database(self) -> Self:
        missing = {"db_check", "gitaly_check"} - self.checks.keys()
        if missing:
            raise ValueError(f"checks: lacks {min(missing)}")
        return self


class Gitlab(Shown):
    """GitLab: alive, ready down to its database, of a version."""

    health: Good
    readiness: Readiness
    version: Version
    revision: Seen


class Registry(Shown):
    """A registry that sends strangers to this instance's GitLab for a token."""

    url: Url
    status: Http401
    api_version: Literal["registry/2.0"]
    realm: Url
    service: Literal["container_registry"]

    @model_validator(mode="after")
    def _asks_our_forge(self) -> Self:
        host = naming.public_host("gitlab", self.instance.domain)
        if self.realm != f"https://{host}/jwt/auth":
            raise ValueError("realm: not the token service of this instance's GitLab")
        return self


class OnlineRunner(Shape):
    """A runner as GitLab sees it."""

    id: Count
    description: Seen
    status: Literal["online"]
    paused: No
    runner_type: Literal["instance_type", "group_type", "project_type"]


class Runner(Shown):
    """The instance's runners, online."""

    runners: Some[OnlineRunner]

    @model_validator(mode="after")
    def _both(self) -> Self:
        missing = RUNNERS - {runner.description for runner in self.runners}
        if missing:
            raise ValueError(f"runners: lacks {min(missing)!r}")
        return self


class Grafana(Shown):
    """Grafana with its database."""

    url: Url
    status: Http200
    version: Version
    database: Literal["ok"]


class Node(Shape):
    """A node of the cluster."""

    name: Seen
    ready: Yes
    kubelet_version: Version


class Ready(Good):
    """Kubernetes' own checks."""

    passed: Count
    failed: Annotated[int, Field(ge=0, le=0)]


class K3s(Shown):
    """A cluster that is ready, and so are its nodes."""

    readyz: Ready
    version: Version
    nodes: Some[Node]


class Ci(Shown):
    """The engine of recipe CI: `builtin` and `gitea-actions` are units alone, others answer."""

    engine: Literal["builtin", "drone", "woodpecker", "gitea-actions"]
    health: Answer | None
    version: Version | None

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.engine not in ("builtin", "gitea-actions"):
            if self.health is None or self.health.status not in (200, 204):
                raise ValueError("health: the engine is not well")
            if self.version is None:
                raise ValueError("version: the engine names none")
        return self


class Page(Shown):
    """A service of ours with an address for its health."""

    url: Url
    status: Http200
    digest: Sha256


class Element(Shown):
    """Element's configuration as the edge serves it: its homeserver is the instance's."""

    url: Url
    status: Http200
    host: Seen
    server_name: Seen
    base_url: Url
    digest: Sha256

    @model_validator(mode="after")
    def _is_ours(self) -> Self:
        domain = self.instance.domain
        if self.host != naming.public_host("element", domain):
            raise ValueError("host: another name than Element's")
        if self.server_name != domain:
            raise ValueError("serverName: another homeserver")
        if self.base_url.rstrip("/") != f"https://{naming.public_host('matrix', domain)}":
            raise ValueError("baseUrl: another homeserver")
        return self


class Handshake(Shown):
    """A TLS handshake on loopback for a name of the instance; `daysLeft` of the certificate."""

    host: Seen
    protocol: Literal["TLSv1.2", "TLSv1.3"]
    certificate: Sha256
    names: Some[Seen]
    days_left: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _is_for_the_name(self) -> Self:
        if not self.host.endswith(f".{self.instance.domain}"):
            raise ValueError("host: no name of the instance")
        wildcard = f"*.{self.host.partition('.')[2]}"
        if not {self.host, wildcard} & set(self.names):
            raise ValueError("names: the certificate is not for the host")
        return self


class Swarm(Shown):
    """Docker as a swarm of this machine."""

    version: Version
    state: Literal["active"]
    manager: Yes
    nodes: Count


class ScrapeTarget(Shape):
    """A scrape target that answered when it was asked last."""

    job: Seen
    instance: Seen
    health: Literal["up"]
    last_error: Literal[""]


class AgentUse(Shape):
    """An agent's use as read back from Prometheus; `ageS` is that of the older sample."""

    name: Name
    cpu_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    memory_bytes: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    age_s: Annotated[float, Field(ge=-5, le=MAX_AGE_S)]


class Metrics(Shown):
    """Prometheus: every target answers, and an agent's numbers are there."""

    url: Url
    version: Version
    targets: Some[ScrapeTarget]
    agents: Some[AgentUse]


class LoggedIn(Shape):
    """One page after the test user has logged in to it."""

    page: PageName
    url: Url
    account: Seen
    status: Http200
    refused_stranger: Yes


class Login(Shape):
    """A test user's log-in by OpenID Connect to each page; `kind` is that of the provider."""

    instance: Owner
    kind: Literal["certified provider package, not GitLab", "GitLab"]
    issuer: Url
    account: Seen
    pages: Some[LoggedIn]

    @model_validator(mode="after")
    def _one_person(self) -> Self:
        domain = self.instance.domain
        for one in self.pages:
            if one.account != self.account:
                raise ValueError(f"pages: {one.page} knows another account")
            if urlsplit(one.url).hostname != naming.public_host(one.page, domain):
                raise ValueError(f"pages: {one.page} is not of this instance")
        if len({one.page for one in self.pages}) != len(self.pages):
            raise ValueError("pages: one is there twice")
        return self
