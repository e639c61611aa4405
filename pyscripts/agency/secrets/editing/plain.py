"""Changes in the plain YAML of an encrypted file; comments and order stay."""

from __future__ import annotations

import io
from collections.abc import Mapping

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from agency.errors import BadInputError
from agency.secrets.encryption.document import RECORD
from agency.secrets.values import SecretValue

_NO_FOLDING = 2**31 - 1


class _Texts(VersionedResolver):
    """Resolver to which every scalar is text."""

    @property
    def versioned_resolver(self) -> dict[str, list[tuple[str, object]]]:
        """Return no rules: none makes a number, a date or a boolean of a word."""
        return {}


def _yaml() -> YAML:
    yaml = YAML()
    # Every scalar is text and is written as it was: sops reads some words otherwise than we would.
    yaml.Resolver = _Texts
    yaml.preserve_quotes = True
    yaml.width = _NO_FOLDING
    return yaml


def changed_text(
    text: str,
    values: Mapping[str, SecretValue],
    *,
    today: str,
) -> str:
    """Set `values`, and record `today` as the day of the change of those set."""
    data = _load(text)
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
    for name in values:
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
