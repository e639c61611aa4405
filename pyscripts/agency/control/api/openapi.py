"""OpenAPI description of the HTTP interface, made from its routes and models.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from agency.control.api import models
from agency.control.api.models import Model
from agency.control.api.routes import JSON, LINES, OPERATION_ID, PREFIX, PROBLEM, ROUTES, Route

_REF = "#/components/schemas/{model}"
_ALWAYS = (400, 429, 503)
_GUARDED = (401, 403)
_REASONS = {
    400: "The request is malformed.",
    401: "There is no token, or it opens nothing.",
    403: "The person, or the token, may not.",
    404: "There is none of this id.",
    409: "The key stands for another command.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The command is not understood.",
    429: "Too many requests; see Retry-After.",
    503: "Not now: too much is under way, or the store cannot be used.",
}


def description() -> dict[str, Any]:
    """Return the whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.place, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HTTP API of the control plane",
            "version": PREFIX.rpartition("/")[2],
            "description": "The operations of the control room, for programs: docs/http-api.md.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def text() -> str:
    """Return the description as the file that is kept in the repository."""
    return json.dumps(description(), indent=2, ensure_ascii=False) + "\n"


def _schemas() -> dict[str, Any]:
    kinds: set[type[Model]] = {models.Problem, models.AuditRow}
    for route in ROUTES:
        kinds |= {each for each in (route.gives, route.takes) if each is not None}
    ordered = sorted(kinds, key=lambda each: each.__name__)
    inputs = {route.takes for route in ROUTES}
    _, made = models_json_schema(
        [(each, "validation" if each in inputs else "serialization") for each in ordered],
        ref_template=_REF,
    )
    found: dict[str, Any] = made["$defs"]
    return dict(sorted(found.items()))


def _operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if not route.open:
        made["security"] = [{"token": []}]
    if route.takes is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(route.takes)}}}
    return {name: value for name, value in made.items() if value not in ([], None)}


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in route.path:
        found.append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": f"^{OPERATION_ID}$"},
            }
        )
    if route.name == "events":
        found.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}})
    for name, schema in route.query.model_json_schema().get("properties", {}).items():
        shown = {key: value for key, value in schema.items() if key not in ("title", "description")}
        about = {"description": schema["description"]} if "description" in schema else {}
        found.append({"name": name, "in": "query", **about, "schema": shown})
    return found


def _responses(route: Route) -> dict[str, Any]:
    if route.gives is not None:
        schema = _ref(route.gives)
    elif route.media == LINES:
        schema = {"type": "string", "description": "one AuditRow a line"}
    else:
        schema = {"type": "string"} if route.media != JSON else {"type": "object"}
    good = {"content": {route.media: {"schema": schema}}}
    made = {str(route.status): {"description": "Done, or on its way.", **good}}
    made |= {str(status): {"description": text, **good} for status, text in route.also.items()}
    refused = {*_ALWAYS, *route.fails, *(() if route.open else _GUARDED)}
    if route.takes is not None:
        refused.add(413)
    problem = {"content": {PROBLEM: {"schema": _ref(models.Problem)}}}
    made |= {str(each): {"description": _REASONS[each], **problem} for each in refused}
    return dict(sorted(made.items()))


def _ref(model: type[Model]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
