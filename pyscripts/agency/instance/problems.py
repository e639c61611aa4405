"""Problems of an instance, each with its file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from agency.errors import BadInputError

MAX_SHOWN = 50
MAX_KEY_SHOWN = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")

Loc = tuple[str | int, ...]  # keys and indexes from the top of the document, as pydantic gives them


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


class InstanceError(BadInputError):
    """Error of an invalid instance, with every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        shown = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            shown.append(f"and {len(self.problems) - MAX_SHOWN} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"the instance has {count}:", *shown]))

    def as_dict(self) -> dict[str, object]:
        """Return the error as `--json` prints it, with the list of problems."""
        return {**super().as_dict(), "problems": [asdict(problem) for problem in self.problems]}


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
