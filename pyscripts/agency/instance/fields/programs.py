"""Sections of instance.yaml about what works in agents: models, their providers, and programs."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from agency import ports
from agency.instance.fields.letters import not_this
from agency.instance.fields.values import Name
from agency.settings import Written

_MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
_MAX_USD = 1_000_000
_MAX_TOKENS = 10_000_000_000


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:  # never the text: it may hold a key
        raise ValueError("must have no user and no query; the key is a secret of its own")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment:
        raise ValueError(not_this("must be an address such as https://api.example.org", url))
    if parts.scheme == "http" and not ports.is_loopback(parts.hostname):
        raise ValueError("sends the key in clear: write https:// in place of http://")
    return url.rstrip("/")


Usd = Annotated[float, Field(ge=0, le=_MAX_USD, allow_inf_nan=False)]
ModelName = Annotated[str, Field(pattern=_MODEL_PATTERN)]


class ModelProvider(Written):
    """A server of models."""

    kind: Literal["openai", "anthropic"] = Field(
        description="what it speaks: chat completions (openai), or messages (anthropic)"
    )
    url: Annotated[str, AfterValidator(_address)] = Field(
        description="its address without `/v1`; https, except on this machine"
    )
    key: bool = Field(
        default=True, description="it wants a key, which is the secret model-NAME-key"
    )


class ModelPrice(Written):
    """Prices in US dollars for a million tokens; of several tiers the dearest."""

    input: Usd = Field(description="of what it is sent")
    output: Usd = Field(description="of what it answers")
    cache_read: Usd | None = Field(default=None, description="of cached input; as input if not set")
    cache_write: Usd | None = Field(
        default=None, description="of input that is put into the cache; twice input if not set"
    )


class OfferedModel(Written):
    """A model, by the name that agents use."""

    provider: Name = Field(description="one of models.providers")
    upstream: ModelName | None = Field(
        default=None, description="the provider's name for it; the same if not set"
    )
    price: ModelPrice = Field(description="what it costs, by which budgets are counted")
    max_output_tokens: int = Field(
        default=8192, ge=1, le=10_000_000, description="most tokens of one answer"
    )


class Models(Written):
    """The models that agents may be given, behind the metering proxy."""

    providers: dict[Name, ModelProvider] = Field(
        min_length=1, max_length=50, description="servers of models, by name"
    )
    offered: dict[ModelName, OfferedModel] = Field(
        min_length=1, max_length=200, description="models, by the names that agents use"
    )

    @model_validator(mode="after")
    def _has_providers(self) -> Self:
        for name, model in self.offered.items():
            if model.provider not in self.providers:
                raise ValueError(
                    f"offered.{name}.provider: there is no {model.provider!r} under providers"
                )
        return self


class Budget(Written):
    """Budget of an agent; the limits of its Gosuto narrow it."""

    tokens_per_day: int = Field(ge=0, le=_MAX_TOKENS, description="tokens in a day (UTC)")
    usd_per_day: Usd = Field(description="US dollars in a day (UTC)")
    usd_per_month: Usd | None = Field(
        default=None, description="US dollars in a month of the calendar"
    )


ProgramPath = Annotated[str, Field(pattern=r"^/[^\s{}$]+$", max_length=512)]


class AgentProgram(Written):
    """Program that works in an agent."""

    kind: Literal["builtin", "command"] = Field(
        default="builtin",
        description="`builtin`: the agency's own tool loop; `command`: a command-line agent",
    )
    agent: Literal["opencode", "qwen-code"] | None = Field(
        default=None, description="the command-line agent"
    )
    run: list[ProgramPath] = Field(
        default_factory=list,
        max_length=2,
        description="its program; of a script, the interpreter first",
    )
    own_tools: Literal["off", "confined"] = Field(
        default="off",
        description="its own shell and file tools: `off`, or within its container or unit",
    )
    model: ModelName = Field(description="asked where its Gosuto names none")
    models: list[ModelName] = Field(
        default_factory=list, max_length=100, description="further ones that its Gosuto may name"
    )
    budget: Budget = Field(description="what it may use")

    @field_validator("own_tools", mode="before")
    @classmethod
    def _reads_off(cls, value: object) -> object:
        return "off" if value is False else value  # as YAML 1.1 reads the word

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        given = {self.agent is not None, bool(self.run)}
        if given != {self.kind == "command"}:
            raise ValueError("needs `agent` and `run` with `kind: command`, and with no other kind")
        return self

    @property
    def allowed(self) -> tuple[str, ...]:
        """All models that it may ask."""
        return tuple(dict.fromkeys((self.model, *self.models)))
