"""Changes in the plain YAML of an encrypted file; comments and order stay."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from agency.errors import BadInputError
from agency.secrets.encryption.document import RECORD
from agency.secrets.values import SecretValue

_NO_FOLDING = 2**31 - 1


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NO_FOLDING
    return yaml


def texts_in(text: str) -> dict[str, SecretValue]:
    """Return the values that are text, by name."""
    found = _load(text)
    values = ((str(name), value) for name, value in found.items() if isinstance(value, str))
    return {name: SecretValue(str(value)) for name, value in values}


def changed_text(
    text: str,
    values: Mapping[str, SecretValue],
    *,
    removed: Iterable[str] = (),
    dated: Iterable[str] = (),
    today: str,
) -> str:
    """Set `values`, remove names, and record `today` for those set and those in `dated`."""
    data = _load(text)
    for name in removed:
        data.pop(name, None)
    for name, value in values.items():
        # Quoted, so that no reader of YAML takes it for a number or a date.
        quoted = DoubleQuotedScalarString(value.reveal())
        if name in data or RECORD not in data:
            data[name] = quoted
        else:
            data.insert(list(data).index(RECORD), name, quoted)
    record = data.get(RECORD)
    if not isinstance(record, dict):
        record = data[RECORD] = CommentedMap()
    for name in (*values, *dated):
        record[name] = DoubleQuotedScalarString(today)
    for name in [name for name in record if name not in data]:
        del record[name]
    written = io.StringIO()
    _yaml().dump(data, written)
    return written.getvalue()


def _load(text: str) -> CommentedMap:
    loaded = _yaml().load(text)
    if loaded is None:
        return CommentedMap()
    if not isinstance(loaded, CommentedMap):
        raise BadInputError("the decrypted file is not a mapping of names to values")
    return loaded
