"""Changes of instance.yaml by a program, of one fact each, and of what is rendered from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agency.canonical import sha256_hex
from agency.errors import AgencyError, BadInputError
from agency.files import rewrite, write_tree_atomically
from agency.instance.editing.lines import with_entry, without_entry
from agency.instance.fields.ci import Recipe
from agency.instance.load import LoadedInstance, parse_instance
from agency.instance.problems import InstanceError
from agency.instance.render import rendered_files
from agency.yaml_source import read_source

_RECIPIENTS = ("secrets", "recipients")
_RECIPES = ("recipes",)


@dataclass(frozen=True, slots=True)
class InstanceEdit:
    """A planned change of instance.yaml; generated/ follows it."""

    loaded: LoadedInstance
    before: bytes
    after: bytes

    def difference(self) -> list[str]:
        """Return the changed lines of instance.yaml."""
        old, new = self.before.decode().splitlines(), self.after.decode().splitlines()
        found = difflib.unified_diff(old, new, lineterm="", n=0)
        return [line for line in found if line[:1] in "+-" and line[:3] not in ("+++", "---")]

    def write(self) -> None:
        """Write both; where generated/ cannot be written, instance.yaml is taken back."""
        try:
            if self.after != self.before:
                rewrite(self.loaded.path, self.after)
            write_tree_atomically(self.loaded.generated, rendered_files(self._new()))
        except AgencyError:
            rewrite(self.loaded.path, self.before)
            raise

    def _new(self) -> LoadedInstance:
        instance = parse_instance(read_source(str(self.loaded.path), self.after))
        assert instance is not None
        loaded = self.loaded
        return LoadedInstance(instance, loaded.path, loaded.root, sha256_hex(self.after))


def plan_recipients(loaded: LoadedInstance, wanted: dict[str, str]) -> InstanceEdit:
    """Plan these recipients; all else must read the same.

    Raises:
        InstanceError: the instance would not be valid.
        BadInputError: the file cannot be changed without changing other facts.
    """
    listed = loaded.instance.secrets.recipients

    def change(text: str) -> str:
        for owner in listed:
            if wanted.get(owner) != listed[owner]:
                text = without_entry(text, _RECIPIENTS, owner)
        for owner, key in wanted.items():
            if listed.get(owner) != key:
                text = with_entry(text, _RECIPIENTS, owner, key)
        return text

    def facts(data: dict[str, Any]) -> None:
        data["secrets"]["recipients"] = wanted

    hint = "change secrets.recipients by hand, then run `agency secrets rekey`"
    return _planned(loaded, change, facts, hint)


def plan_recipe(loaded: LoadedInstance, name: str, repository: str | None) -> InstanceEdit:
    """Plan a recipe under test with its repository, or the end of its entry (None).

    Raises:
        InstanceError: the instance would not be valid.
        BadInputError: the file cannot be changed without changing other facts.
    """

    def change(text: str) -> str:
        if repository is None:
            return without_entry(text, _RECIPES, name)
        return with_entry(text, _RECIPES, name, {"repository": repository})

    def facts(data: dict[str, Any]) -> None:
        data["recipes"].pop(name, None)
        if repository is not None:
            data["recipes"][name] = Recipe.model_construct(repository=repository).model_dump()

    return _planned(loaded, change, facts, "change `recipes` by hand, then run `agency render`")


def _planned(
    loaded: LoadedInstance,
    change: Callable[[str], str],
    facts: Callable[[dict[str, Any]], None],
    hint: str,
) -> InstanceEdit:
    content = loaded.path.read_bytes()
    wanted = loaded.instance.model_dump()
    facts(wanted)
    if wanted == loaded.instance.model_dump():
        return InstanceEdit(loaded, content, content)
    new = change(content.decode()).encode()
    source = read_source(str(loaded.path), new)
    instance = parse_instance(source)
    if instance is None or source.problems:
        raise InstanceError(source.problems)
    if instance.model_dump() != wanted:
        raise BadInputError(
            "cannot be changed by a program without changing more",
            where=str(loaded.path),
            hint=hint,
        )
    return InstanceEdit(loaded, content, new)
