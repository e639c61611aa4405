"""Types of the single values of a Gosuto document; each says its own fault."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from agency import naming

MAX_TEXT = 2_000
MAX_LONG_TEXT = 20_000
MAX_ENTRIES = 200
MAX_RULES = 600  # a decision looks at each

_USER = re.compile(r"@[!-9;-~]{1,200}:[!-~]{1,54}\Z")
_ROOM = re.compile(r"![!-~]{1,254}\Z")
_TOOL_NAME = "[A-Za-z0-9_.-]{1,128}"
TOOL = re.compile(rf"(?P<server>[a-z][a-z0-9-]{{0,30}})/(?P<tool>{_TOOL_NAME})\Z")
_TOOL_PATTERN = re.compile(rf"(?:\*|[a-z][a-z0-9-]{{0,30}}/(?:\*|{_TOOL_NAME}))\Z")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z|(?:/[A-Za-z0-9_-]{1,64}){2,8}\Z")
_ENV = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_FIELD = r"(?:\*|[0-9]{1,2}(?:-[0-9]{1,2})?(?:,[0-9]{1,2}(?:-[0-9]{1,2})?)*)(?:/[0-9]{1,2})?"
_CRON = re.compile(rf"{_FIELD}(?: {_FIELD}){{4}}\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
# Both ends of each field of a schedule, crontab(5).
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def shown(text: str) -> str:
    """Quote the beginning of a value for a message."""
    return repr(text[:60])


def _matched(pattern: re.Pattern[str], wanted: str, text: str) -> str:
    if not pattern.match(text):
        raise ValueError(f"must be {wanted}, not {shown(text)}")
    return text


def _name(text: str) -> str:
    if not naming.is_name(text):
        raise ValueError(
            f"must be a-z, 0-9 and inner dashes, and begin with a letter, not {shown(text)}"
        )
    return text


def _user(text: str) -> str:
    return _matched(_USER, "a full Matrix id such as @alice:agency.example.org", text)


def _room(text: str) -> str:
    return _matched(_ROOM, "the id of a room such as !abc:agency.example.org", text)


def _tool(text: str) -> str:
    return _matched(_TOOL_PATTERN, "server/tool, server/* or * for every tool", text)


def _argument(text: str) -> str:
    return _matched(_ARGUMENT, "an argument's name, or a path to it such as /options/url", text)


def _env(text: str) -> str:
    return _matched(_ENV, "the name of an environment variable such as API_KEY", text)


def _schedule(text: str) -> str:
    _matched(_CRON, "five fields as in crontab(5), such as 0 7 * * 1-5", text)
    for field, (least, most) in zip(text.split(" "), _LIMITS, strict=True):
        numbers, _, step = field.partition("/")
        found = [int(each) for each in re.findall("[0-9]+", numbers)]
        if step == "0" or any(not least <= each <= most for each in found):
            raise ValueError(f"has the field {field}, whose numbers are {least} to {most}")
    return text


def _visible(text: str) -> str:
    found = _CONTROL.search(text)
    if found is not None:
        raise ValueError(f"has the control character U+{ord(found[0]):04X}; remove it")
    return text


Name = Annotated[str, AfterValidator(_name)]
MatrixUser = Annotated[str, AfterValidator(_user)]
MatrixRoom = Annotated[str, AfterValidator(_room)]
ToolPattern = Annotated[str, AfterValidator(_tool)]
ArgumentName = Annotated[str, AfterValidator(_argument)]
EnvName = Annotated[str, AfterValidator(_env)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_visible)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_visible)]
LongText = Annotated[str, Field(max_length=MAX_LONG_TEXT), AfterValidator(_visible)]
