"""OpenAPI description of ACP version 1, made from the table of endpoints and their messages.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from agency.protocols import acp_v1 as v1
from agency.protocols.acp import MAX_BODY, TRACE_HEADER, Problem
from agency.protocols.acp_routes import CHANGE_PROBLEMS, COMMON_PROBLEMS, ENDPOINTS, AcpEndpoint

_JSON = "application/json"
_SCHEMAS = "#/components/schemas/{model}"
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


def openapi_document() -> dict[str, Any]:
    """Describe every endpoint of version 1."""
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agent control protocol",
            "version": "1",
            "description": f"Served by every agent on loopback. A body: {MAX_BODY} bytes at most.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
        "security": [{"token": []}],
    }


def _schemas() -> dict[str, Any]:
    models: dict[str, type[BaseModel]] = {"Problem": Problem, "AgentEvent": v1.AgentEvent}
    for each in ENDPOINTS:
        for model in (each.request, each.answer):
            if model is not None:
                models[model.__name__] = model
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation") for _, model in sorted(models.items())
    ]
    _, made = models_json_schema(wanted, ref_template=_SCHEMAS)
    found: dict[str, Any] = made["$defs"]
    return found


def _operation(endpoint: AcpEndpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint),
    }
    if endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.request)}
    return operation


def _parameters(endpoint: AcpEndpoint) -> list[dict[str, Any]]:
    # No pattern: a trace id that is malformed is left out of the log, and refused by nobody.
    found = [_header(TRACE_HEADER, {}, required=False)]
    if endpoint.request is not None:
        pattern = {"pattern": v1.IDEMPOTENCY_PATTERN}
        found.append(_header(v1.IDEMPOTENCY_HEADER, pattern, required=True))
    for name in _PLACEHOLDER.findall(endpoint.path):
        schema = {"type": "string", "pattern": v1.ID_PATTERN}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _header(name: str, schema: Mapping[str, str], *, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "schema": {"type": "string", **schema},
    }


def _responses(endpoint: AcpEndpoint) -> dict[str, Any]:
    problems: Mapping[int, str] = {
        **COMMON_PROBLEMS,
        **(CHANGE_PROBLEMS if endpoint.request is not None else {}),
        **endpoint.problems,
    }
    if endpoint.answer is None:
        stream = {"text/event-stream": {"schema": {"type": "string"}}}
        good = {
            "description": "Lines of server-sent events; data is an AgentEvent",
            "content": stream,
        }
    else:
        good = {"description": "Done", "content": _content(endpoint.answer)}
    return {str(endpoint.status): good} | {
        str(status): {"description": text, "content": _content(Problem)}
        for status, text in sorted(problems.items())
    }


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": _SCHEMAS.format(model=model.__name__)}}}
