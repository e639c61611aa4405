"""The jinja2 environment of the files rendered from an instance."""

from __future__ import annotations

import json
import re
from functools import cache

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_WORD = re.compile(r"[a-z0-9][a-z0-9.-]*\Z")


def _yaml_scalar(text: str) -> str:
    """Quote text as JSON, which is also a YAML flow value: nothing in it can end the quoting."""
    return json.dumps(str(text), ensure_ascii=False)  # str() of a missing value raises


def _yaml_plain(text: str) -> str:
    """Leave text unquoted where YAML reads the same text back; quote it otherwise."""
    plain = _WORD.match(text) is not None and yaml.safe_load(text) == text
    return text if plain else _yaml_scalar(text)


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
    environment.filters["plain"] = _yaml_plain
    return environment


def fill(template: str, /, **values: object) -> bytes:
    """Fill the template at `templates/<template>`; a name without a value is an error."""
    return _environment().get_template(template).render(values).encode()
