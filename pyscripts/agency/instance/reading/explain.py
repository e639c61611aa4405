"""Messages for pydantic's errors about instance.yaml: the fault and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from agency import field_errors
from agency.instance.problems import Loc
from agency.instance.reading.schema import instance_schema
from agency.yaml_source import Source

_EXAMPLES: Mapping[str, str] = {
    "version": "version: 1",
    "name": "name: agency",
    "domain": "domain: agency.example.org",
    "operators": 'operators: ["@alice:agency.example.org"]',
    "secrets": "secrets: {provider: ephemeral}, or sops with recipients",
    "role": "role: developer",
    "repository": "repository: recipes/hedgedoc",
}


def explain(source: Source, error: ErrorDetails) -> tuple[Loc, str]:
    """Return the location in the file and the message of a pydantic error."""
    return field_errors.explain_error(source, error, instance_schema(), _EXAMPLES)


def known_keys(loc: Loc) -> tuple[str, ...]:
    """Return the keys that are allowed in the mapping at a location."""
    return field_errors.known_keys(instance_schema(), loc)
