"""Models of an instance: the content of instance.yaml, and the values derived from it.

`Instance` is the border: pydantic, strict, unknown keys refused. Its validators' messages say what
would be right. Keys are camelCase in YAML and JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from agency import naming
from agency.instance.conflicts import conflicts
from agency.instance.problems import field_name
from agency.unwritten import FEATURES

SCHEMA_VERSION = 1

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z"
)
_MATRIX_ID = re.compile(r"@[a-z0-9._=/+-]{1,200}:[a-z0-9.-]+(:[0-9]{1,5})?\Z")
_AGE_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}\Z")


def _name(text: str) -> str:
    if not naming.is_name(text):
        raise ValueError(
            f"must be 1 to {naming.MAX_NAME} characters of a-z, 0-9 and inner dashes, and begin "
            "with a letter"
        )
    return text


def _agent_name(text: str) -> str:
    if not naming.is_agent_name(text):
        raise ValueError(
            f"must be 1 to {naming.MAX_AGENT_NAME} characters of a-z, 0-9 and inner dashes, and "
            "begin with a letter"
        )
    return text


def _domain(text: str) -> str:
    if "://" in text:
        bare = text.split("://", 1)[1].strip("/")
        raise ValueError(f"must be a bare domain without a scheme: {bare}")
    if not _DOMAIN.match(text):
        raise ValueError("must be a lower-case domain such as agency.example.org")
    return text


def _matrix_id(text: str) -> str:
    if not _MATRIX_ID.match(text):
        raise ValueError("must be a full Matrix id such as @alice:agency.example.org")
    return text


def _feature(text: str) -> str:
    if text not in FEATURES:
        waiting = f"one of {', '.join(FEATURES)}" if FEATURES else "left out: all are written"
        raise ValueError(f"is not a feature whose program is unwritten; must be {waiting}")
    return text


def _age_recipient(text: str) -> str:
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError(
            "this is a private key, and it is exposed now: make a new one with age-keygen, and "
            "list its public key, which begins with age1"
        )
    if not _AGE_RECIPIENT.match(text):
        raise ValueError("must be an age public key: age1 and 58 more characters")
    return text


Name = Annotated[str, AfterValidator(_name)]
AgentName = Annotated[str, AfterValidator(_agent_name)]
Domain = Annotated[str, AfterValidator(_domain)]
MatrixId = Annotated[str, AfterValidator(_matrix_id)]
Feature = Annotated[str, AfterValidator(_feature)]
AgeRecipient = Annotated[str, AfterValidator(_age_recipient)]


class Strict(BaseModel):
    """Base of the models: refuses unknown keys and coercions; values are immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Toggle(Strict):
    """A service that is on or off."""

    enable: bool = False


class MatrixService(Strict):
    """Synapse, the homeserver."""

    enable: bool = True
    federation: bool = Field(default=False, description="talk to other homeservers")


class CiService(Strict):
    """Recipe CI."""

    enable: bool = False
    engine: Literal["builtin", "drone", "woodpecker"] = "builtin"
    max_tests: int = Field(default=2, ge=1, le=64, description="recipe runs at a time")


class Services(Strict):
    """The services that this instance runs."""

    matrix: MatrixService = MatrixService()
    element: Toggle = Toggle()
    edge: Toggle = Toggle()
    gitlab: Toggle = Toggle()
    # to_camel would turn it into k3S
    k3s: Toggle = Field(default=Toggle(), alias="k3s")
    swarm: Toggle = Toggle()
    traefik: Toggle = Toggle()
    ci: CiService = CiService()
    bridge: Toggle = Toggle()
    dashboard: Toggle = Toggle()
    observability: Toggle = Toggle()


class Agent(Strict):
    """One named worker."""

    role: Name
    enable: bool = True
    uid: int | None = Field(default=None, ge=naming.AGENT_UIDS.start, lt=naming.AGENT_UIDS.stop)
    port: int | None = Field(
        default=None, ge=1024, le=65535, description="loopback port of its ACP"
    )


class SecretsPolicy(Strict):
    """The provider of the secrets, and the keys that can decrypt them."""

    provider: Literal["sops", "ephemeral"] = "sops"
    recipients: dict[Name, AgeRecipient] = Field(
        default_factory=dict, description="age public keys by the name of their owner"
    )

    @model_validator(mode="after")
    def _has_distinct_recipients(self) -> Self:
        if self.provider == "sops" and not self.recipients:
            raise ValueError("provider sops needs at least one age recipient under recipients")
        doubles = [key for key, n in Counter(self.recipients.values()).items() if n > 1]
        if doubles:
            raise ValueError(f"the recipient {doubles[0]} is listed twice; remove one")
        return self


class Recipe(Strict):
    """A Co-op Cloud app under test."""

    repository: str = Field(min_length=1, description="owner/name on the forge")


class Instance(Strict):
    """The content of instance.yaml."""

    version: Literal[1]
    name: Name
    domain: Domain
    operators: list[MatrixId] = Field(
        min_length=1, description="who may command, by full Matrix id"
    )
    services: Services = Services()
    agents: dict[AgentName, Agent] = Field(default_factory=dict)
    recipes: dict[Name, Recipe] = Field(default_factory=dict)
    preview: list[Feature] = Field(
        default_factory=list,
        description="features to set up although their programs are not written yet",
    )
    secrets: SecretsPolicy

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        found = conflicts(self.domain, list(enumerate(self.operators)), self.agents)
        if found:
            raise ValueError("; ".join(f"{field_name(c.loc)}: {c.message}" for c in found))
        return self

    def resolved_agents(self) -> Iterator[ResolvedAgent]:
        """Iterate over the enabled agents, by name, with their numbers and names."""
        for name, agent in sorted(self.agents.items()):
            if agent.enable:
                yield ResolvedAgent(
                    name=name,
                    role=agent.role,
                    uid=agent.uid if agent.uid is not None else naming.agent_uid(name),
                    port=agent.port if agent.port is not None else naming.agent_port(name),
                    user=naming.agent_user(name),
                    unit=naming.agent_unit(name),
                    matrix_id=naming.matrix_id(naming.agent_localpart(name), self.domain),
                )


class ResolvedAgent(Strict):
    """An agent with the values derived from its name."""

    name: str
    role: str
    uid: int
    port: int
    user: str
    unit: str
    matrix_id: str
