"""Templates of files made of secrets: `@name@` stands for the secret of that name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agency.errors import BadInputError

_PLACEHOLDER = re.compile(r"@([a-z0-9][a-z0-9-]*)@")


def placeholder(name: str) -> str:
    """The text that stands in a template for the secret of that name."""
    return f"@{name}@"


def fill(template: str, values: Mapping[str, str], *, where: str, absent: Mapping[str, str]) -> str:
    """Put values in place of the names in a template; no value is itself filled in.

    Args:
        template: the text with its placeholders.
        values: the secrets by name.
        where: the template's name, for the error.
        absent: why a secret that is not among `values` could not be had, by its name.

    Raises:
        BadInputError: a name has no value. A placeholder that stayed would be a secret that
            everybody knows.
    """
    for name in _PLACEHOLDER.findall(template):
        if name not in values:
            reason = absent.get(name, "is not a secret of this machine")
            raise BadInputError(f"the secret {name}, which it is made of, {reason}", where=where)
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
