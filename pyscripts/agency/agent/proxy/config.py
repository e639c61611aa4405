"""Configuration of the proxy: providers, models with prices, an account for each agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from agency import naming, ports
from agency.agent.models.client import WireFormat
from agency.agent.proxy.accounting.pricing import Amount, Budget, Rates, nanos
from agency.errors import BadInputError
from agency.protocols import SOCKET
from agency.settings import Written, load

_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_MODEL = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$"
_MAX_TOKENS = 10_000_000_000


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must be an https:// URL with a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment; the key is a credential")
    if parts.scheme == "http" and not ports.is_loopback(parts.hostname):
        raise ValueError("must be https: the key would cross the network in clear text")
    return url.rstrip("/")


def _agent(name: str) -> str:
    if not naming.is_agent_name(name):
        raise ValueError("is not the name of an agent")
    return name


Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=_NAME)]
ModelName = Annotated[str, Field(pattern=_MODEL)]


class Provider(Written):
    """A server of models; `credential` names the one that holds its key, None: it asks for none."""

    url: Annotated[str, AfterValidator(_address)]
    format: WireFormat
    credential: Name | None = None
    output_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class Price(Written):
    """US dollars for a million tokens; of several tiers the dearest."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None

    def rates(self) -> Rates:
        """Return the prices as whole numbers; unknown ones are taken for the dearest usual."""
        read = self.input if self.cache_read is None else self.cache_read
        write = 2 * self.input if self.cache_write is None else self.cache_write
        return Rates(nanos(self.input), nanos(self.output), nanos(read), nanos(write))


class Model(Written):
    """A model as agents name it; `upstream` is the provider's name for it."""

    provider: Name
    upstream: ModelName | None = None
    price: Price
    max_output_tokens: int = Field(default=8192, ge=1, le=10_000_000)


class Account(Written):
    """Permissions of one agent; with `gosuto`, the limits of that document narrow it further.

    `token_file` holds the digest of a token that the agent's runtime makes anew at each start. The
    account of a `slot` is that of the agent in it, whose Gosuto has a name of its own.
    """

    token_sha256: Digest | None = None
    token_file: Path | None = None
    models: tuple[ModelName, ...] = Field(max_length=100)
    tokens_per_day: int = Field(ge=0, le=_MAX_TOKENS)
    usd_per_day: Usd
    usd_per_month: Usd | None = None
    requests_per_minute: int = Field(default=60, ge=1, le=100_000)
    concurrent_requests: int = Field(default=4, ge=1, le=1000)
    tokens_per_request: int | None = Field(default=None, ge=1, le=10_000_000)
    over_limit: Literal["shorten", "refuse"] = "shorten"
    gosuto: Path | None = None
    slot: bool = False

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if (self.token_sha256 is None) == (self.token_file is None):
            raise ValueError("needs either tokenSha256 or tokenFile")
        return self

    def budget(self) -> Budget:
        """Return the budget in whole numbers."""
        month = None if self.usd_per_month is None else nanos(self.usd_per_month)
        return Budget(Amount(self.tokens_per_day, nanos(self.usd_per_day)), month)


class ProxyConfig(Written):
    """The whole file; it holds no secret."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)
    socket: Path | None = None
    database: Path
    providers: dict[Name, Provider] = Field(max_length=50)
    models: dict[ModelName, Model] = Field(max_length=200)
    accounts: dict[Annotated[str, AfterValidator(_agent)], Account] = Field(max_length=1000)
    redact: tuple[Name, ...] = Field(default=(), max_length=200)
    metrics_token_sha256: Digest | None = None
    audit_socket: Path = SOCKET
    request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    answer_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    idle_s: float = Field(default=120, gt=0, le=900)
    answer_s: float = Field(default=900, gt=0, le=3600)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.port is None) == (self.socket is None):
            raise ValueError("needs either port or socket")
        if not ports.is_loopback(self.host):
            raise ValueError("host is not a loopback address")
        for name, model in self.models.items():
            if model.provider not in self.providers:
                raise ValueError(f"models.{name}.provider is not under providers")
        for name, account in self.accounts.items():
            for each in account.models:
                if each not in self.models:
                    raise ValueError(f"accounts.{name}.models names {each}, not under models")
        digests = [account.token_sha256 for account in self.accounts.values()]
        files = [account.token_file for account in self.accounts.values()]
        told = [each for each in (*digests, *files, self.metrics_token_sha256) if each is not None]
        if len(set(told)) != len(told):
            raise ValueError("two accounts have one token")
        return self

    @property
    def credentials(self) -> tuple[str, ...]:
        """Names of all credentials that the proxy reads."""
        keys = (each.credential for each in self.providers.values())
        held = (each for each in keys if each is not None)
        return tuple(dict.fromkeys((*held, *self.redact)))


def load_config(path: Path) -> ProxyConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read. BadInputError: it is not valid.
    """
    config = load(
        path,
        ProxyConfig,
        what="the proxy's configuration",
        hint="docs/models.md describes it",
    )
    if not config.database.is_absolute():
        raise BadInputError("database: must be an absolute path", where=str(path))
    return config
