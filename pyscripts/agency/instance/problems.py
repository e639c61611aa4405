"""Problems of an instance, each with its file, line and field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from agency.errors import BadInputError
from agency.yaml_source import Loc as Loc
from agency.yaml_source import Problem as Problem
from agency.yaml_source import field_name as field_name

MAX_SHOWN = 50


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
