"""Fields of a request that may pass to a provider.

Others are left out: they are unknown, cost more than the price table says, or keep text with the
provider. What would have the provider act by itself (its own tools, addresses that it fetches) is
refused: it would be a way around the agent's policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agency.agent.models.client import WireFormat
from agency.agent.proxy.refusals import Refusal

_SHARED = frozenset({"model", "messages", "tools", "tool_choice", "temperature", "top_p", "stream"})
PASSING: Mapping[WireFormat, frozenset[str]] = {
    "openai": _SHARED
    | {
        *("max_tokens", "max_completion_tokens", "n", "stop", "seed", "response_format"),
        *("parallel_tool_calls", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("reasoning_effort", "stream_options", "logprobs", "top_logprobs"),
    },
    "anthropic": _SHARED | {"max_tokens", "system", "stop_sequences", "top_k", "thinking"},
}
_ACTING = frozenset({"mcp_servers", "container", "web_search_options", "functions", "plugins"})
_PARTS = frozenset(
    {"text", "image", "image_url", "tool_use", "tool_result", "thinking", "redacted_thinking"}
    | {"refusal"}
)
# An image costs tokens by its size in points, of which its bytes say nothing.
IMAGE_TOKENS = 8192


def passing(body: Mapping[str, Any], wire: WireFormat) -> dict[str, Any]:
    """Return what may pass of a request.

    Raises:
        Refusal: it would have the provider act.
    """
    acting = sorted(key for key in _ACTING & body.keys() if body[key])
    if acting:
        raise Refusal(403, "field", f"the field {acting[0]} does not pass: use the agent's tools")
    for tool in _list(body, "tools"):
        kind = tool.get("type", "custom" if wire == "anthropic" else None)
        if kind != ("custom" if wire == "anthropic" else "function"):
            raise Refusal(403, "field", "tools of the provider do not pass: use the agent's tools")
    return {key: body[key] for key in PASSING[wire] & body.keys()}


def images(body: Mapping[str, Any]) -> int:
    """Count the images of a request.

    Raises:
        Refusal: a part is of a kind that does not pass, or names an address to fetch.
    """
    count = 0
    for part in _parts(body):
        kind = part.get("type")
        if kind not in _PARTS:
            raise Refusal(403, "field", f"parts of the type {str(kind)[:40]!r} do not pass")
        if kind not in ("image", "image_url"):
            continue
        if not _inline(part):
            raise Refusal(403, "field", "an image passes only with its bytes, not by an address")
        count += 1
    return count


def _inline(part: Mapping[str, Any]) -> bool:
    if part.get("type") == "image":
        source = part.get("source")
        return isinstance(source, dict) and source.get("type") == "base64"
    named = part.get("image_url")
    url = named.get("url") if isinstance(named, dict) else None
    return isinstance(url, str) and url[:11].lower() == "data:image/"


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from _content(body.get("system"), depth=0)
    for message in _list(body, "messages"):
        yield from _content(message.get("content"), depth=0)


def _content(content: object, *, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a content, and those inside the result of a tool."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list) or depth > 1:
        raise Refusal(400, "request", "content is neither a text nor a list of parts")
    for part in content:
        if not isinstance(part, dict):
            raise Refusal(400, "request", "a part of a content is not an object")
        yield part
        if part.get("type") == "tool_result":
            yield from _content(part.get("content"), depth=depth + 1)


def _list(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Refusal(400, "request", f"{key} is not a list of objects")
    return value
