"""Plan of a call: what would be sent, for which model, and the most that it can use. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agency.agent.models.client import WireFormat
from agency.agent.proxy.accounting.ledger import Wish
from agency.agent.proxy.config import Account, Model, Provider, ProxyConfig
from agency.agent.proxy.refusals import Refusal
from agency.agent.proxy.requests.fields import IMAGE_TOKENS, images, passing
from agency.agent.proxy.requests.redacting import RequestRedactor, TooDeepError
from agency.canonical import once_each

# Beside the bytes of a request: what a provider adds by itself, such as its prompt for tools.
OVERHEAD_TOKENS = 2048
_MAX_CHOICES = 8
_OUTPUT_FIELDS: Mapping[WireFormat, tuple[str, ...]] = {
    "openai": ("max_tokens", "max_completion_tokens"),
    "anthropic": ("max_tokens",),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that may be made if the budget pays for it."""

    model: str
    provider_name: str
    provider: Provider
    body: Mapping[str, Any]
    wish: Wish
    stream: bool
    told_usage: bool  # the program asked for the usage of a stream itself
    output_field: str
    redacted: int
    left_out: tuple[str, ...]

    def written(self, output_tokens: int) -> bytes:
        """Write the request with the number of output tokens that is paid for."""
        body = {**self.body, self.output_field: output_tokens}
        return json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace")


def read_request(raw: bytes) -> dict[str, Any]:
    """Read the body of a request.

    Raises:
        Refusal: it is no JSON object, or a key comes twice: two readers could differ.
    """
    try:
        found = json.loads(raw, object_pairs_hook=once_each, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refusal(
            400, "request", "the body is not a JSON object without doubled keys"
        ) from None
    if not isinstance(found, dict):
        raise Refusal(400, "request", "the body is not a JSON object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(text)


def plan(
    agent: str,
    account: Account,
    body: Mapping[str, Any],
    wire: WireFormat,
    config: ProxyConfig,
    redactor: RequestRedactor,
) -> Plan:
    """Plan a call of an agent.

    Raises:
        Refusal: it may not be made, whatever is left of the budget.
    """
    name, model = _model(agent, account, body, config)
    provider = config.providers[model.provider]
    if provider.format != wire:
        path = "/v1/messages" if provider.format == "anthropic" else "/v1/chat/completions"
        raise Refusal(400, "request", f"the model {name} is asked by {path}")
    kept = passing(body, wire)
    pictures = images(kept)
    try:
        kept, redacted = redactor.tree(kept)
    except TooDeepError:
        raise Refusal(400, "request", "the request is nested too deeply") from None
    stream = _flag(body, "stream")
    kept["model"] = model.upstream or name
    told_usage = _usage_wanted(body)
    kept.pop("stream_options", None)
    if stream and wire == "openai":
        kept["stream_options"] = {"include_usage": True}
    output_field, wanted = _output(kept, wire, account, model, provider)
    size = len(json.dumps(kept, ensure_ascii=False).encode(errors="backslashreplace"))
    wish = Wish(
        agent,
        model.price.rates(),
        size + OVERHEAD_TOKENS + pictures * IMAGE_TOKENS,
        wanted,
        _choices(kept, wire),
        shorten=account.over_limit == "shorten",
    )
    left_out = tuple(sorted(str(key)[:40] for key in body.keys() - kept.keys()))
    return Plan(
        name,
        model.provider,
        provider,
        kept,
        wish,
        stream,
        told_usage,
        output_field,
        redacted,
        left_out,
    )


def _model(
    agent: str, account: Account, body: Mapping[str, Any], config: ProxyConfig
) -> tuple[str, Model]:
    name = body.get("model")
    if not isinstance(name, str):
        raise Refusal(400, "request", "the request names no model")
    if name not in account.models:
        allowed = ", ".join(account.models) or "none"
        raise Refusal(
            403, "model", f"{agent} may not use the model {name[:128]!r}; it may use: {allowed}"
        )
    return name, config.models[name]


def _output(
    kept: dict[str, Any], wire: WireFormat, account: Account, model: Model, provider: Provider
) -> tuple[str, int]:
    """Take the wanted number of output tokens out of a request; return its field and number."""
    given = {key: kept.pop(key) for key in _OUTPUT_FIELDS[wire] if kept.get(key) is not None}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Refusal(400, "request", f"{key} is not a positive whole number")
    for key in _OUTPUT_FIELDS[wire]:
        kept.pop(key, None)
    most = min(model.max_output_tokens, account.tokens_per_request or model.max_output_tokens)
    wanted = min(given.values(), default=most)
    if wanted > most and account.over_limit == "refuse":
        raise Refusal(400, "tokens", f"{wanted} output tokens are wanted, {most} are allowed")
    field = next(iter(given), provider.output_field if wire == "openai" else "max_tokens")
    return field, min(wanted, most)


def _choices(kept: Mapping[str, Any], wire: WireFormat) -> int:
    number = 1 if wire == "anthropic" or kept.get("n") is None else kept["n"]
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MAX_CHOICES:
        raise Refusal(400, "request", f"n is not a number from 1 to {_MAX_CHOICES}")
    return number


def _flag(body: Mapping[str, Any], key: str) -> bool:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise Refusal(400, "request", f"{key} is neither true nor false")
    return bool(value)


def _usage_wanted(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
