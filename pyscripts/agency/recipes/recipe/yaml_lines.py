"""Reader of YAML as compose files have it: with anchors and merge keys, and the line of each value.

It is bounded: a small file whose aliases expand to a huge one, or to itself, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from agency.characters import is_whole
from agency.errors import BadInputError

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 40

Loc = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}


@dataclass(slots=True)
class Document:
    """A file as plain data; `lines` has the line of each value by its location."""

    file: str
    data: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)

    def line(self, loc: Loc) -> int:
        """Return the line of a location, or of the nearest enclosing one."""
        for length in range(len(loc), -1, -1):
            if loc[:length] in self.lines:
                return self.lines[loc[:length]]
        return 1

    def where(self, loc: Loc) -> str:
        """Return `file:line` of a location."""
        return f"{self.file}:{self.line(loc)}"


def read_yaml(text: str, file: str) -> Document:
    """Read one document.

    Raises:
        BadInputError: it is no YAML, has a tag or a duplicate key, or is too large.
    """
    if len(text.encode()) > MAX_BYTES:
        raise BadInputError(f"more than {MAX_BYTES} bytes", where=file)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInputError(f"not YAML: {error.problem}", where=f"{file}:{line}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInputError("not YAML", where=file) from error
    finally:
        loader.dispose()
    document = Document(file)
    if node is not None:
        document.data = _Builder(document).build(node, ())
    return document


@dataclass(slots=True)
class _Builder:
    document: Document
    nodes: int = 0
    _within: list[int] = field(default_factory=list)  # mappings and lists that are being built

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES:
            raise self._bad(f"more than {MAX_NODES} values, aliases expanded", line)
        self.document.lines.setdefault(loc, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            with self._inside(node):
                return [self.build(one, (*loc, i)) for i, one in enumerate(node.value)]
        return self._scalar(node)

    @contextmanager
    def _inside(self, node: yaml.Node) -> Iterator[None]:
        """Bound the depth, which merge keys add to as well as values."""
        line = node.start_mark.line + 1
        if id(node) in self._within:
            raise self._bad("a value within itself, by an alias", line)
        if len(self._within) >= MAX_DEPTH:
            raise self._bad(f"nested deeper than {MAX_DEPTH}", line)
        self._within.append(id(node))
        yield
        self._within.pop()

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        with self._inside(node):
            return self._pairs(node, loc)

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for one in self._merged(value):
                    # The first of several mappings wins, and the mapping's own keys over all.
                    merged = {**self._mapping(one, loc), **merged}
                continue
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str) or not is_whole(name):
                raise self._bad("a key that is not text", key.start_mark.line + 1)
            if name in own:
                raise self._bad(f"the key {name[:60]!r} twice", key.start_mark.line + 1)
            self.document.lines[(*loc, name)] = key.start_mark.line + 1
            own[name] = self.build(value, (*loc, name))
        return {**merged, **own}

    def _merged(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        self.nodes += 1
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise self._bad("<< takes mappings", node.start_mark.line + 1)
            self.nodes += len(part.value)
            yield part

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        if not is_whole(node.value):  # an escape of YAML makes halves of characters
            raise self._bad("half of a pair of surrogates", node.start_mark.line + 1)
        if node.tag not in _SCALARS:
            raise self._bad(f"the tag {node.tag[:60]}", node.start_mark.line + 1)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self._bad(
                f"not a value: {node.value[:40]!r}", node.start_mark.line + 1
            ) from error

    def _bad(self, message: str, line: int) -> BadInputError:
        return BadInputError(message, where=f"{self.document.file}:{line}")
