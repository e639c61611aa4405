"""The jinja2 environment of everything that is rendered from an instance."""

from __future__ import annotations

import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def _yaml_scalar(value: object) -> str:
    """A value as JSON, which is also a YAML flow value: nothing in it can end the quoting."""
    return json.dumps(value, ensure_ascii=False)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agency.instance"),
        undefined=StrictUndefined,
        autoescape=select_autoescape(),
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["yaml"] = _yaml_scalar
    return environment


def fill(template: str, /, **values: object) -> bytes:
    """Fill the template at `templates/<template>`; a name without a value is an error."""
    return _environment().get_template(template).render(values).encode()
