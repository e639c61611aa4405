"""Script of a scripted model: what it says to which task, step by step. Pure.

The next step follows from the conversation alone: the first rule whose pattern the last task
matches, and of its steps as many as the model has taken since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import re2
from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator

from agency.errors import BadInputError, UsageError
from agency.field_errors import explain_error
from agency.settings import Written, read_bounded
from agency.yaml_source import read_source

MAX_BYTES = 256 * 1024
MAX_RESULT = 2000  # characters of a result that a text quotes
MAX_TASK = 65_536
_SUFFIX = ".yaml"
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_GATEWAY = re.compile(r"<<<data ([0-9a-f]+)>>>\n(.*)\n<<<end \1>>>", re.DOTALL)
_PROGRAM = re.compile(r"<<<([0-9a-f]{16})\n(.*)\n\1>>>", re.DOTALL)
_EXAMPLES: Mapping[str, str] = {"scripted": "scripted: v1", "steps": "steps: [{say: Done.}]"}
_HINT = "docs/agents.md describes it"


def _pattern(text: str) -> str:
    try:
        re2.compile(text, _options())
    except re2.error:
        raise ValueError("is not a pattern of RE2") from None
    return text


def _options() -> re2.Options:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return options


class Step(Written):
    """One answer: a text, or the call of a tool."""

    say: str | None = None
    call: str | None = Field(default=None, max_length=200)
    arguments: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.say is None) == (self.call is None):
            raise ValueError("must be exactly one of say and call")
        if self.arguments and self.call is None:
            raise ValueError("has arguments, and calls nothing")
        return self


class Rule(Written):
    """Steps for tasks in which `when` is found; without it, for every task."""

    when: Annotated[str, Field(max_length=500), AfterValidator(_pattern)] | None = None
    steps: list[Step] = Field(min_length=1, max_length=100)


class Script(Written):
    """The whole file; `variables` and `task` are what `agency agent try` takes if nothing else."""

    scripted: Literal["v1"]
    summary: str = ""
    variables: dict[str, str] = Field(default_factory=dict)
    task: str = ""
    rules: list[Rule] = Field(min_length=1, max_length=200)


@dataclass(frozen=True, slots=True)
class Talk:
    """The last task, the answers that the model gave to it, and the newest result."""

    task: str
    answered: int = 0
    result: str = ""


def next_step(script: Script, talk: Talk) -> Step:
    """Choose the step that follows, its names filled in."""
    for rule in script.rules:
        found = _groups(rule, talk.task)
        if found is None:
            continue
        if talk.answered >= len(rule.steps):
            return Step(say="[the script has no further step]")
        names = {**found, "task": talk.task, "result": core(talk.result)}
        step = rule.steps[talk.answered]
        if step.say is not None:
            return Step(say=_filled(step.say, names))
        return Step(call=step.call, arguments=_filled(step.arguments, names))
    return Step(say="[no rule of the script is about this task]")


def _groups(rule: Rule, task: str) -> Mapping[str, str] | None:
    """Return the named groups of the pattern where it is found; None where it is not."""
    if rule.when is None:
        return {}
    found = re2.compile(rule.when, _options()).search(task[:MAX_TASK])
    return None if found is None else {n: v or "" for n, v in found.groupdict().items()}


def _filled(part: Any, names: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(each, names) for each in part]
    if isinstance(part, str):
        return _NAME.sub(lambda found: names.get(found[1], found[0]), part)
    return part


def core(result: str) -> str:
    """Return what a tool said, without the marks around it, bounded."""
    for marks in (_PROGRAM, _GATEWAY):
        found = marks.search(result)
        result = found[2] if found else result
    return result if len(result) <= MAX_RESULT else result[:MAX_RESULT] + " [...]"


def read_script(file: str, content: bytes) -> Script:
    """Read a script.

    Raises:
        BadInputError: it is invalid; the message names each fault with its line.
    """
    source = read_source(file, content, max_bytes=MAX_BYTES)
    if source.data is not None and not source.problems:
        try:
            return Script.model_validate(source.data, by_alias=True, by_name=False)
        except ValidationError as failure:
            for error in failure.errors(include_url=False):
                source.add(*explain_error(source, error, _schema(), _EXAMPLES))
    told = "\n".join(map(str, source.problems[:20]))
    raise BadInputError(f"this is no script of a model:\n{told}", where=file, hint=_HINT)


@cache
def _schema() -> dict[str, Any]:
    return Script.model_json_schema()


def script_names() -> tuple[str, ...]:
    """Return the names of the scripts that come with the program."""
    folder = resources.files("agency.agent.scripted") / "scripts"
    names = (each.name for each in folder.iterdir() if each.name.endswith(_SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names))


def load_script(named: str) -> Script:
    """Load a script by its name, or from a file.

    Raises:
        UsageError: there is none of this name. AgencyError: the file cannot be read or is invalid.
    """
    if named in script_names():
        file = resources.files("agency.agent.scripted") / "scripts" / f"{named}{_SUFFIX}"
        return read_script(named, file.read_bytes())
    if "/" not in named and not named.endswith((_SUFFIX, ".yml")):
        known = ", ".join(script_names())
        raise UsageError(
            f"there is no script {json.dumps(named[:60])}",
            hint=f"there are: {known}; or give a file, such as ./script.yaml",
        )
    return read_script(named, read_bounded(Path(named), most=MAX_BYTES, what="the script"))
