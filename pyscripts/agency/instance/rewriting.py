"""Changes of instance.yaml by a program: comments, order and quotes stay as a person wrote them."""

from __future__ import annotations

import io

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.util import load_yaml_guess_indent

from agency.errors import BadInputError
from agency.instance.load import LoadedInstance, parse_instance
from agency.instance.problems import InstanceError
from agency.yaml_source import read_source

_NO_FOLDING = 2**31 - 1


def with_recipients(loaded: LoadedInstance, content: bytes, wanted: dict[str, str]) -> bytes:
    """Return instance.yaml with these recipients; all else must read the same.

    Raises:
        InstanceError: the instance would not be valid.
        BadInputError: the file cannot be changed without changing other facts.
    """
    text = content.decode()
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NO_FOLDING
    data, indent, block_indent = load_yaml_guess_indent(text, yaml=yaml)
    secrets = data["secrets"]
    if not isinstance(secrets.get("recipients"), CommentedMap):
        secrets["recipients"] = CommentedMap()
    listed = secrets["recipients"]
    for owner in [owner for owner in listed if owner not in wanted]:
        del listed[owner]
    for owner, key in wanted.items():
        if listed.get(owner) != key:
            listed[owner] = key
    yaml.indent(mapping=2, sequence=indent or 2, offset=block_indent or 0)
    written = io.StringIO()
    yaml.dump(data, written)
    new = written.getvalue().encode()
    source = read_source(str(loaded.path), new)
    instance = parse_instance(source)
    if instance is None or source.problems:
        raise InstanceError(source.problems)
    before = loaded.instance.model_dump()
    before["secrets"]["recipients"] = wanted
    if instance.model_dump() != before:
        raise BadInputError(
            "cannot be changed by a program without changing more",
            where=str(loaded.path),
            hint="change secrets.recipients by hand, then run `agency secrets rekey`",
        )
    return new
