"""Enforcers of the fields of a document: a function, or the reason why there is none.

docs/gosuto-spec.md prints this table. A field that nothing enforces says so, here, there and in the
answer of `gosuto validate`.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from agency.gosuto.document import as_data
from agency.gosuto.model import Document

NOT_ENFORCED = "not enforced"
_READER = "agency.gosuto.document:validate"
_DESCRIBES = f"{NOT_ENFORCED}: it only describes"
_PROMPT = "agency.agent.programs.prompting:system_prompt"
_ASKED = "agency.agent.programs.work:settings_of"
_KEYS = f"{NOT_ENFORCED}: the proxy holds the providers' keys, and an agent has none"
_LISTENER = "agency.agent.rooms.events.waking:judge"
_NOTICES = "agency.agent.rooms.listening:Listener"
_PEERS = "agency.agent.rooms.events.envelope:open_envelope"
_SENDER = "agency.agent.rooms.sending:order"
_PACE = "agency.agent.rooms.events.pacing:wait_ms"
_METER = "agency.agent.proxy.policy:narrowed"
_GATEWAY = "agency.agent.gateway.calls.judging:judge"
_APPROVALS = "agency.agent.gateway.calls.approvals:Approvals"
_DECIDERS = "agency.agent.gateway.core:Gateway"
_ROOM = "agency.control.service.asking:choose_place"
_SERVERS = "agency.agent.gateway.servers.servers:Servers"
_TIMERS = "agency.agent.rooms.timers:due"
_EVENTS = f"{NOT_ENFORCED} yet: the agent takes events of timers alone"
_LEASES = f"{NOT_ENFORCED} yet: the agent is given no secrets by this document"

# By the longest beginning of a field's name.
ENFORCERS: Mapping[str, str] = {
    "apiVersion": _READER,
    "metadata": _DESCRIBES,
    "metadata.name": "agency.agent.policy:check_document",
    "trust": _LISTENER,
    "trust.adminRoom": _NOTICES,
    "trust.peers": _PEERS,
    "limits": _METER,
    "limits.eventsPerMinute": _LISTENER,
    "capabilities": _GATEWAY,
    "approvals.room": _ROOM,
    "approvals.approvers": _DECIDERS,
    "approvals.ttlSeconds": _APPROVALS,
    "mcpServers": _SERVERS,
    "mcpServers.*.restart": "agency.agent.gateway.servers.running:Server",
    "gateways.*.type": _TIMERS,
    "gateways.*.schedule": _TIMERS,
    "gateways.*.message": _TIMERS,
    "gateways.*.secret": _EVENTS,
    "gateways.*.command": _EVENTS,
    "secrets": _LEASES,
    "messaging": _SENDER,
    "messaging.messagesPerMinute": _PACE,
    "persona": _PROMPT,
    "persona.provider": _METER,
    "persona.model": _ASKED,
    "persona.temperature": _ASKED,
    "persona.apiKey": _KEYS,
    "instructions": _PROMPT,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the model; `*` stands for a name in a mapping, `[]` for an entry of a list."""

    name: str
    type: str
    description: str
    needed: bool

    @property
    def enforcer(self) -> str:
        """The function that enforces it, as module:function, or why there is none."""
        parts = self.name.replace("[]", "").split(".")
        for length in range(len(parts), 0, -1):
            found = ENFORCERS.get(".".join(parts[:length]))
            if found is not None:
                return found
        raise KeyError(self.name)


def fields(model: type[BaseModel] = Document, place: str = "") -> Iterator[Field]:
    """List every field that holds a value, in the order of the model."""
    for info in model.model_fields.values():
        name = f"{place}{info.alias}"
        yield from _below(name, info.annotation, info.description or "", info.is_required())


def _below(name: str, annotation: Any, description: str, needed: bool) -> Iterator[Field]:
    inner = _without_none(annotation)
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        yield from fields(inner, f"{name}.")
    elif get_origin(inner) is dict and _is_model(get_args(inner)[1]):
        yield from fields(get_args(inner)[1], f"{name}.*.")
    elif get_origin(inner) is list and _is_model(get_args(inner)[0]):
        yield from fields(get_args(inner)[0], f"{name}[].")
    else:
        yield Field(name, _type(inner), description, needed)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        left = [each for each in get_args(annotation) if each is not type(None)]
        return left[0] if len(left) == 1 else annotation
    return annotation


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is dict:
        return f"names to {_type(get_args(annotation)[1])}"
    if origin is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if origin in (Union, types.UnionType):
        names = [_type(each) for each in get_args(annotation) if each is not type(None)]
        return " or ".join(dict.fromkeys(names))
    if hasattr(annotation, "__metadata__"):
        return _type(get_args(annotation)[0])
    if not isinstance(annotation, type):
        return ", ".join(map(str, get_args(annotation)))
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return plain.get(annotation, str(annotation.__name__))


def unenforced(document: Document) -> tuple[str, ...]:
    """Return the fields of a document that differ from their default and that nothing enforces."""
    plain = as_data(Document(api_version="gosuto/v1", metadata=document.metadata))
    found = as_data(document)
    told: list[str] = []
    for name, reason in ENFORCERS.items():
        if not reason.startswith(NOT_ENFORCED) or reason == _DESCRIBES:
            continue
        used = (p for p in _places(found, name) if _at(found, p) != _at(plain, p))
        told.extend(f"{place} is {reason}" for place in used)
    return tuple(told)


def _places(data: Any, name: str) -> Iterator[str]:
    """Write a name out for each entry of a mapping that `*` stands for."""
    before, star, rest = name.partition(".*.")
    if not star:
        yield name
        return
    for key in _at(data, before) or {}:
        yield f"{before}.{key}.{rest}"


def _at(data: Any, name: str) -> Any:
    """Return what a document holds under a dotted name; None where it holds nothing."""
    for part in name.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
