"""Entries of a mapping in a YAML text, added and removed by lines; all other lines stay.

A library that writes a whole document anew binds a comment to the entry above it, so a comment of
the next section would go with a removed entry, or come before an added one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

Value = str | Mapping[str, str]
_INDENT = 2


@dataclass(frozen=True, slots=True)
class _Place:
    """The mapping at a path: its key, if it is there, and its value."""

    key: yaml.ScalarNode | None
    value: yaml.Node | None


def with_entry(text: str, path: tuple[str, ...], name: str, value: Value) -> str:
    """Return the text with an entry at the end of the mapping at `path`, or with its new value."""
    text = without_entry(text, path, name)
    place = _find(text, path)
    if place.value is None:
        if len(path) == 1:
            return _ended(text) + "\n" + _block({path[0]: {name: value}}, 0)
        return _into(text, path[:-1], {path[-1]: {name: value}})
    return _into(text, path, {name: value})


def without_entry(text: str, path: tuple[str, ...], name: str) -> str:
    """Return the text without an entry of the mapping at `path`; unchanged if there is none."""
    mapping = _find(text, path).value
    if not isinstance(mapping, yaml.MappingNode):
        return text
    found = [pair for pair in mapping.value if pair[0].value == name]
    if not found:
        return text
    key, value = found[0]
    if mapping.flow_style or len(mapping.value) == 1:
        left = {k.value: _plain(v) for k, v in mapping.value if k.value != name}
        return _replaced(text, path, _flow(left))
    return _cut_lines(text, key.start_mark.index, _end(value))


def _into(text: str, path: tuple[str, ...], entry: Mapping[str, object]) -> str:
    """Add an entry that is not there to a mapping that is, be it empty."""
    mapping = _find(text, path).value
    if isinstance(mapping, yaml.MappingNode) and mapping.value:
        if mapping.flow_style:
            every = {k.value: _plain(v) for k, v in mapping.value}
            return _replaced(text, path, _flow({**every, **entry}))
        column = mapping.value[0][0].start_mark.column
        text = _ended(text)
        at = text.index("\n", _end(mapping)) + 1
        return text[:at] + _block(entry, column) + text[at:]
    key = _find(text, path).key
    assert key is not None
    text = _ended(_replaced(text, path, ""))
    at = text.index("\n", key.end_mark.index) + 1
    return text[:at] + _block(entry, key.start_mark.column + _INDENT) + text[at:]


def _find(text: str, path: tuple[str, ...]) -> _Place:
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    key: yaml.ScalarNode | None = None
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        key, node = next((pair for pair in pairs if pair[0].value == name), (None, None))
        if node is None:
            return _Place(None, None)
    return _Place(key, node)


def _replaced(text: str, path: tuple[str, ...], value: str) -> str:
    """Put `value` where the value at `path` is; a comment behind the key stays behind it."""
    place = _find(text, path)
    assert place.key is not None
    assert place.value is not None
    colon = text.index(":", place.key.end_mark.index) + 1
    mapping = place.value
    said = f" {value}" if value else ""
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style:
        if mapping.start_mark.index == mapping.end_mark.index:  # nothing is written there
            return text[:colon] + said + text[colon:]
        return text[:colon] + said + text[_end(mapping) :]
    rest = _cut_lines(text, mapping.start_mark.index, _end(mapping))
    return rest[:colon] + said + rest[colon:]


def _end(node: yaml.Node) -> int:
    """Return where a node ends: a block mapping's own mark is behind the comments after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _cut_lines(text: str, start: int, end: int) -> str:
    first = text.rfind("\n", 0, start) + 1
    after = text.find("\n", end)
    return text[:first] + (text[after + 1 :] if after >= 0 else "")


def _plain(node: yaml.Node) -> object:
    return yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))


def _flow(data: Mapping[str, object]) -> str:
    told = yaml.safe_dump(dict(data), default_flow_style=True, sort_keys=False, width=10**9)
    return told.strip()


def _block(data: Mapping[str, object], column: int) -> str:
    told = yaml.safe_dump(_dicts(data), default_flow_style=False, sort_keys=False, width=10**9)
    return "".join(f"{' ' * column}{line}\n" for line in told.splitlines())


def _dicts(data: Mapping[str, object]) -> dict[str, object]:
    return {k: _dicts(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else f"{text}\n"
