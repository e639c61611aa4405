"""Strict reader of YAML that keeps the line of every value.

It refuses duplicate keys, tabs as indentation, anchors and aliases (a small file can expand to a
huge one), tags, merge keys, keys that are not text, several documents, deep nesting, and the
markers of an unresolved merge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20

MAX_KEY_SHOWN = 60
Loc = tuple[str | int, ...]  # keys and indexes from the top of the document, as pydantic gives them

# libyaml if PyYAML has it: twenty times as fast, with the same marks.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"null", "bool", "int", "float", "str", "timestamp"}
# Characters that YAML 1.1 does not allow in a file (`yaml.reader.Reader.NON_PRINTABLE`).
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)
_CONFLICT = re.compile(r"^(<{7} |\|{7} |={7}$|>{7} )", re.MULTILINE)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem and its remedy.

    `line` counts from 1. If the problem is the whole file, `line` is None and `field` empty.
    """

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return (
            f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a value: the line of its key (or dash), and its text if it is a scalar."""

    line: int
    raw: str | None = None


@dataclass(slots=True)
class Source:
    """A document as plain data, with the place of each value by its location."""

    file: str
    data: Any = None
    places: dict[Loc, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, loc: Loc) -> int | None:
        """Return the line of a location, or of the nearest enclosing one that has a line."""
        for length in range(len(loc), 0, -1):
            place = self.places.get(loc[:length])
            if place is not None:
                return place.line
        return 1 if self.places else None

    def add(self, loc: Loc, message: str, *, line: int | None = None) -> None:
        """Note a problem at a location."""
        where = line if line is not None else self.line(loc)
        self.problems.append(Problem(self.file, where, field_name(loc), message))


def read_source(
    file: str, content: bytes, *, max_bytes: int = MAX_BYTES, if_empty: str | None = None
) -> Source:
    """Parse a YAML document; the result's `problems` list its faults.

    `if_empty` is the remedy that the problem of an empty document names.
    """
    source = Source(file)
    text = _decode(source, content, max_bytes)
    if text is None or not _is_plain(source, text):
        return source
    try:
        if not _check_events(source, text):
            return source
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        _add_syntax_error(source, text, error)
        return source
    if node is None:
        source.add((), "is empty" if if_empty is None else f"is empty; {if_empty}", line=None)
    elif not isinstance(node, yaml.MappingNode):
        source.add((), f"must be a mapping of keys to values, not {_kind(node)}", line=1)
    else:
        source.data = _Builder(source).mapping(node, ())
    return source


def _decode(source: Source, content: bytes, max_bytes: int) -> str | None:
    if len(content) > max_bytes:
        source.add((), f"is larger than {max_bytes} bytes; such a file is a few kilobytes")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        source.add((), "is not UTF-8 text; save it as UTF-8", line=line)
        return None


def _is_plain(source: Source, text: str) -> bool:
    conflict = _CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        source.add((), f"has the marker {conflict[0].strip()} of a merge conflict", line=line)
        return False
    found = _UNPRINTABLE.search(text)
    if found is None:
        return True
    line = text.count("\n", 0, found.start()) + 1
    source.add((), f"has the control character U+{ord(found[0]):04X}; remove it", line=line)
    return False


def _check_events(source: Source, text: str) -> bool:
    depth = 0
    fine = True
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            source.add((), "anchors and aliases (& and *) are refused; write it out", line=line)
            fine = False
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            source.add((), f"is nested deeper than {MAX_DEPTH} levels", line=line)
            return False
    return fine


def _add_syntax_error(source: Source, text: str, error: yaml.YAMLError) -> None:
    tab = _TAB_INDENT.search(text)
    if tab is not None:
        line = text.count("\n", 0, tab.start()) + 1
        source.add((), "is indented with a tab; YAML wants spaces", line=line)
        return
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or "cannot be read"
    if "single document" in str(getattr(error, "context", "")):
        what = "has more than one document; remove the line ---"
    source.add((), f"is not YAML: {what}", line=mark.line + 1 if mark else None)


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


class _Builder:
    """Builder of plain data from YAML nodes; records the place of each value."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            if node.tag != _TAG + "map":
                return self._refuse_tag(node, loc)
            return self.mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != _TAG + "seq":
                return self._refuse_tag(node, loc)
            return self._sequence(node, loc)
        return self._scalar(node, loc)

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, loc)
            if key is None:
                continue
            here = (*loc, key)
            if key in built:
                first = self._source.places[here].line
                self._source.add(
                    here, f"is here twice (first in line {first}); keep one", line=line
                )
                continue
            self._source.places[here] = _place(line, value_node)
            built[key] = self.value(value_node, here)
        return built

    def _key(self, node: yaml.Node, loc: Loc) -> str | None:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            self._source.add(loc, f"has {_kind(node)} as a key; a key is a word", line=line)
            return None
        if node.tag == _TAG + "merge":
            self._source.add(loc, "merge keys (<<) are refused; write it out", line=line)
            return None
        if node.tag != _TAG + "str":
            kind = node.tag.removeprefix(_TAG)
            self._source.add(
                loc, f"YAML reads the key {node.value} as {kind}; put it in quotes", line=line
            )
            return None
        return str(node.value)

    def _sequence(self, node: yaml.SequenceNode, loc: Loc) -> list[Any]:
        built = []
        for index, item in enumerate(node.value):
            here = (*loc, index)
            self._source.places[here] = _place(item.start_mark.line + 1, item)
            built.append(self.value(item, here))
        return built

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind not in _SCALARS:
            return self._refuse_tag(node, loc)
        if kind in {"str", "timestamp"}:
            return str(node.value)
        try:
            return self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return str(node.value)

    def _refuse_tag(self, node: yaml.Node, loc: Loc) -> None:
        self._source.add(loc, f"the tag {node.tag[:80]} is refused; remove it")


def _place(line: int, value: yaml.Node) -> Place:
    raw = value.value if isinstance(value, yaml.ScalarNode) else None
    return Place(line, raw)


def field_name(loc: Loc) -> str:
    """Format a location as people write it: `agents.pm.port`, `operators[1]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_shown(part)}" if text else _shown(part)
    return text


def _shown(key: str) -> str:
    if _PLAIN_KEY.match(key):
        return key
    return ascii(key if len(key) <= MAX_KEY_SHOWN else key[:MAX_KEY_SHOWN] + "...")
