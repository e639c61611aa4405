"""Templates of files that hold secrets: `@name@` stands for the secret of that name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agency.errors import BadInputError

_PLACEHOLDER = re.compile(r"@([a-z0-9][a-z0-9-]*)@")


def placeholder(name: str) -> str:
    """Return the placeholder of a secret in a template."""
    return f"@{name}@"


def fill(template: str, values: Mapping[str, str], *, where: str, absent: Mapping[str, str]) -> str:
    """Replace the placeholders of a template by values, in one pass: values are not expanded.

    Args:
        template: the text with its placeholders.
        values: the secrets by name.
        where: the template's name, for the error.
        absent: by secret name, the reason why `values` has no value for it.

    Raises:
        BadInputError: a name has no value. A placeholder left in the file would be a publicly
            known secret.
    """
    for name in _PLACEHOLDER.findall(template):
        if name not in values:
            reason = absent.get(name, "is not a secret of this machine")
            raise BadInputError(f"the secret {name}, which it is made of, {reason}", where=where)
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
