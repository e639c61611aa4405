"""Validation errors in words for a person."""

from __future__ import annotations

from pydantic import ValidationError

_SHOWN_PROBLEMS = 3


def explain(error: ValidationError) -> str:
    """Describe the first few problems of a validation by the path of each field, without values."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    lines = []
    for problem in problems[:_SHOWN_PROBLEMS]:
        message = problem["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in problem["loc"])
        lines.append(f"{where}: {message}" if where else message)
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"and {len(problems) - _SHOWN_PROBLEMS} more")
    return "; ".join(lines)
