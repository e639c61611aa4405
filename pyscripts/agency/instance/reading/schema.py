"""JSON Schema of instance.yaml, for editors: the same rules for single fields as `agency check`."""

from __future__ import annotations

from functools import cache
from typing import Any

from agency.instance.model import Instance

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def instance_schema() -> dict[str, Any]:
    """Return the schema. Rules between fields are only in `agency check`."""
    model = Instance.model_json_schema()
    del model["title"]
    _keys_by_name(model)
    _needs_recipients(model["$defs"]["SecretsPolicy"])
    return {"$schema": DIALECT, "title": "instance.yaml of an agency", **model}


def _keys_by_name(part: Any) -> None:
    """Refuse keys that do not match: pydantic's `patternProperties` lets them pass."""
    if isinstance(part, list):
        for item in part:
            _keys_by_name(item)
    if not isinstance(part, dict):
        return
    patterns = part.pop("patternProperties", None)
    if patterns is not None:
        ((pattern, values),) = patterns.items()
        part["propertyNames"] = {"pattern": pattern, **part.get("propertyNames", {})}
        part["additionalProperties"] = values
    for value in part.values():
        _keys_by_name(value)


def _needs_recipients(policy: dict[str, Any]) -> None:
    ephemeral = {"properties": {"provider": {"const": "ephemeral"}}, "required": ["provider"]}
    policy["if"] = {"not": ephemeral}
    policy["then"] = {
        "properties": {"recipients": {"minProperties": 1}},
        "required": ["recipients"],
    }
