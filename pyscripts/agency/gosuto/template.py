"""Templates of documents: package data with typed variables. Pure.

A template is parsed first; a value then takes the place of its name inside single texts, so it can
never become YAML, and is never read again for names. `${NAME.origin}` stands for scheme, host and
port of a variable that is a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from agency.errors import InternalError, UsageError
from agency.gosuto.constraints import HostPattern, UrlPrefix
from agency.gosuto.document import GosutoError, validate
from agency.gosuto.model import Document
from agency.gosuto.urls import read_url
from agency.gosuto.values import MatrixRoom, MatrixUser, Name, Schedule, Word, shown
from agency.settings import Written
from agency.yaml_source import Source, read_source

_NAME = re.compile(r"\$\{([a-z][A-Za-z0-9]*(?:\.origin)?)\}")
_ORIGIN = ".origin"
_SUFFIX = ".yaml"
_KINDS: Mapping[str, Any] = {
    "name": TypeAdapter(Name),
    "user": TypeAdapter(MatrixUser),
    "room": TypeAdapter(MatrixRoom),
    "host": TypeAdapter(HostPattern),
    "url": TypeAdapter(UrlPrefix),
    "schedule": TypeAdapter(Schedule),
    "text": TypeAdapter(Word),
}
_AGENT = "agent"  # the variable that every template has


class Variable(Written):
    """A variable of a template."""

    kind: Literal["name", "user", "room", "host", "url", "schedule", "text"]
    summary: str
    default: str | None = None


class Template(Written):
    """A template: its variables, and the document in which their names stand."""

    name: str
    summary: str
    variables: dict[str, Variable]
    document: dict[str, Any]

    def fill(self, agent: str, values: Mapping[str, str]) -> Document:
        """Make the document of an agent.

        Raises:
            UsageError: a variable is unknown, missing or not of its kind.
            GosutoError: the document would be invalid.
        """
        checked = {_AGENT: agent, **self._check(values)}
        data = _filled(self.document, checked)
        data["metadata"] = {"name": agent, "template": self.name, **data.get("metadata", {})}
        source = Source(f"the template {self.name}", data)
        document = validate(source)
        if document is None or source.problems:
            raise GosutoError(source.problems)
        return document

    def _check(self, values: Mapping[str, str]) -> dict[str, str]:
        hint = f"{self.name} has: {', '.join(self.variables) or 'none'}"
        for name in values:
            if name not in self.variables:
                raise UsageError(f"{self.name} has no variable {shown(name)}", hint=hint)
        checked = {}
        for name, variable in self.variables.items():
            value = values.get(name, variable.default)
            if value is None:
                raise UsageError(
                    f"{self.name} needs {name}: {variable.summary}", hint=f"write {name}=VALUE"
                )
            checked[name] = _checked(name, variable.kind, value)
            if variable.kind == "url":
                checked[name + _ORIGIN] = read_url(checked[name]).origin
        return checked

    def names(self) -> set[str]:
        """Return every name that stands for something."""
        urls = {name for name, variable in self.variables.items() if variable.kind == "url"}
        return {_AGENT, *self.variables, *(name + _ORIGIN for name in urls)}


def _checked(name: str, kind: str, value: str) -> str:
    try:
        read: str = _KINDS[kind].validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = str(first.get("ctx", {}).get("error", first["msg"]))
        raise UsageError(f"{name} {why}") from None
    return read


def _filled(part: Any, values: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(each, values) for each in part]
    if isinstance(part, str):
        return _NAME.sub(lambda found: values[found[1]], part)
    return part


def _names_in(part: Any) -> set[str]:
    if isinstance(part, dict):
        return set().union(*map(_names_in, part.values())) if part else set()
    if isinstance(part, list):
        return set().union(*map(_names_in, part)) if part else set()
    return set(_NAME.findall(part)) if isinstance(part, str) else set()


def template_names() -> tuple[str, ...]:
    """Return the names of all templates."""
    folder = resources.files("agency.gosuto") / "templates"
    files = (each.name for each in folder.iterdir() if each.name.endswith(_SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files))


@cache
def load_template(name: str) -> Template:
    """Load a template.

    Raises:
        UsageError: there is none of this name.
        InternalError: the template is broken.
    """
    names = template_names()
    if name not in names:
        raise UsageError(
            f"there is no template {shown(name)}", hint=f"there are: {', '.join(names)}"
        )
    file = resources.files("agency.gosuto") / "templates" / f"{name}{_SUFFIX}"
    source = read_source(name, file.read_bytes())
    if source.data is None or source.problems:
        raise InternalError(f"the template {name} is broken: {source.problems[:1]}")
    template = Template.model_validate({"name": name, **source.data})
    used = _names_in(template.document)
    unknown = used - template.names()
    unused = set(template.variables) - {name.removesuffix(_ORIGIN) for name in used}
    if unknown or unused:
        raise InternalError(f"the template {name} does not fit its variables: {unknown | unused}")
    return template
