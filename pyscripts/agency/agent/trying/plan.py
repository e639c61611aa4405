"""Plan of a trial: the Gosuto, the model, and the proxy's configuration. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agency.agent.models.client import WireFormat
from agency.agent.proxy.config import Account, Model, Price, Provider, ProxyConfig
from agency.errors import UsageError
from agency.gosuto import Document, Template
from agency.secrets import SecretValue

ROOM = "!terminal:try.invalid"
PERSON = "@you:try.invalid"
KEY = "model-key"
SCRIPTED = "scripted"
_USUAL: Mapping[str, str] = {"room": ROOM, "user": PERSON}
_PROVIDER = "model"
_UNKNOWN = Price(input=0.0, output=0.0)  # nobody told the price: tokens are counted


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model at an address; `key` is None for a server that asks for none."""

    name: str
    url: str
    format: WireFormat = "openai"
    key: SecretValue | None = None


def check_model(real: RealModel) -> None:
    """Check name and address as the proxy would.

    Raises:
        UsageError: one of them is none that it takes.
    """
    for option, build in (
        ("--model-url", lambda: Provider(url=real.url, format=real.format)),
        ("--model", lambda: Model(provider=_PROVIDER, upstream=real.name, price=_UNKNOWN)),
    ):
        try:
            build()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            why = str(first.get("ctx", {}).get("error", first["msg"]))
            raise UsageError(f"{option}: {why}") from None


def variables(
    template: Template,
    given: Mapping[str, str],
    usual: Mapping[str, str],
    ask: Callable[[str, str], str] | None,
) -> dict[str, str]:
    """Give each variable of a template a value; `ask` is asked for one that has none.

    The terminal stands for rooms and people.
    """
    found = dict(given)
    for name, variable in template.variables.items():
        if name in found:
            continue
        value = usual.get(name) or _USUAL.get(variable.kind) or variable.default
        if value is None and ask is not None:
            value = ask(name, variable.summary)
        if value is not None:
            found[name] = value
    missing = [name for name in template.variables if name not in found]
    if missing:
        told = template.variables[missing[0]].summary
        raise UsageError(
            f"{template.name} needs {missing[0]}: {told}",
            hint=f"add --var={missing[0]}=VALUE",
        )
    return found


def model_name(document: Document, real: RealModel | None) -> str:
    """Return the name by which the program asks for its model."""
    return document.persona.model or (SCRIPTED if real is None else real.name)


def proxy_config(
    document: Document,
    real: RealModel | None,
    scripted_url: str,
    place: Path,
    token_sha256: str,
    tokens_per_day: int,
) -> ProxyConfig:
    """Configure the proxy: one provider, one model, one account that its Gosuto narrows."""
    agent, provider = document.metadata.name, document.persona.provider or _PROVIDER
    name = model_name(document, real)
    if real is None:
        at = Provider(url=scripted_url, format="openai")
    else:
        at = Provider(
            url=real.url, format=real.format, credential=None if real.key is None else KEY
        )
    return ProxyConfig(
        socket=place / "proxy.sock",
        database=place / "ledger.db",
        providers={provider: at},
        models={
            name: Model(
                provider=provider,
                upstream=SCRIPTED if real is None else real.name,
                price=_UNKNOWN,
            )
        },
        accounts={
            agent: Account(
                token_sha256=token_sha256,
                models=(name,),
                tokens_per_day=tokens_per_day,
                usd_per_day=0.0,
                gosuto=place / "gateway" / "policy.json",
            )
        },
    )
