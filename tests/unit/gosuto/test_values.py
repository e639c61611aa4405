"""Single values: each refusal in full, and what is just inside each limit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from agency.gosuto.values import (
    ArgumentName,
    EnvName,
    MatrixRoom,
    MatrixUser,
    Name,
    Schedule,
    Text,
    ToolPattern,
)

USER = "must be a full Matrix id such as @alice:agency.example.org"
ROOM = "must be the id of a room such as !abc:agency.example.org"
TOOL = "must be server/tool, server/* or * for every tool"
ARGUMENT = "must be an argument's name, or a path to it such as /options/url"
ENV = "must be the name of an environment variable such as API_KEY"
NAME = "must be a-z, 0-9 and inner dashes, and begin with a letter"
CRON = "must be five fields as in crontab(5), such as 0 7 * * 1-5"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (MatrixUser, "alice", f"{USER}, not 'alice'"),
        (MatrixUser, "@a b:c", f"{USER}, not '@a b:c'"),
        (MatrixUser, "@" + "a" * 201 + ":c", f"{USER}, not {'@' + 'a' * 59!r}"),
        (MatrixUser, "@a:c\n", f"{USER}, not '@a:c\\n'"),
        (MatrixRoom, "#a:b", f"{ROOM}, not '#a:b'"),
        (MatrixRoom, "!", f"{ROOM}, not '!'"),
        (ToolPattern, "a", f"{TOOL}, not 'a'"),
        (ToolPattern, "*/a", f"{TOOL}, not '*/a'"),
        (ToolPattern, "a/b*", f"{TOOL}, not 'a/b*'"),
        (ToolPattern, "a/b/c", f"{TOOL}, not 'a/b/c'"),
        (ArgumentName, "/url", f"{ARGUMENT}, not '/url'"),
        (ArgumentName, "1a", f"{ARGUMENT}, not '1a'"),
        (ArgumentName, "/a/", f"{ARGUMENT}, not '/a/'"),
        (EnvName, "api_key", f"{ENV}, not 'api_key'"),
        (EnvName, "A=B", f"{ENV}, not 'A=B'"),
        (Name, "Pm", f"{NAME}, not 'Pm'"),
        (Name, "pm-", f"{NAME}, not 'pm-'"),
        (Schedule, "* * * *", f"{CRON}, not '* * * *'"),
        (Schedule, "* * * * * *", f"{CRON}, not '* * * * * *'"),
        (Schedule, "@daily", f"{CRON}, not '@daily'"),
        (Schedule, "60 * * * *", "has the field 60, whose numbers are 0 to 59"),
        (Schedule, "0 24 * * *", "has the field 24, whose numbers are 0 to 23"),
        (Schedule, "0 0 0 * *", "has the field 0, whose numbers are 1 to 31"),
        (Schedule, "0 0 32 * *", "has the field 32, whose numbers are 1 to 31"),
        (Schedule, "0 0 1 0 *", "has the field 0, whose numbers are 1 to 12"),
        (Schedule, "0 0 1 13 *", "has the field 13, whose numbers are 1 to 12"),
        (Schedule, "0 0 1 1 8", "has the field 8, whose numbers are 0 to 7"),
        (Schedule, "0 0 1 1 1-8", "has the field 1-8, whose numbers are 0 to 7"),
        (Schedule, "*/0 * * * *", "has the field */0, whose numbers are 0 to 59"),
        (Text, "a\x00", "has the control character U+0000; remove it"),
        (Text, "a\x7f", "has the control character U+007F; remove it"),
        (Text, "a\u2028", "has the control character U+2028; remove it"),
    ],
)
def test_why_a_value_is_refused(kind: Any, text: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(text)
    assert str(caught.value.errors()[0]["ctx"]["error"]) == said


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (MatrixUser, "@a:b"),
        (MatrixUser, "@" + "a" * 200 + ":" + "b" * 54),
        (MatrixRoom, "!" + "a" * 254),
        (ToolPattern, "*"),
        (ToolPattern, "a/*"),
        (ToolPattern, "a" * 31 + "/" + "B" * 128),
        (ArgumentName, "_a-B9"),
        (ArgumentName, "a" * 64),
        (ArgumentName, "/0/a"),
        (ArgumentName, "/a" * 8),
        (EnvName, "_A9"),
        (EnvName, "A" * 64),
        (Name, "pm-2"),
        (Schedule, "59 23 31 12 7"),
        (Schedule, "0 0 1 1 0"),
        (Schedule, "*/5 8-18/2 1,15 * *"),
        (Text, "a\tb\nc"),
        (Text, "ü" * 2000),
    ],
)
def test_what_is_inside_the_limits_is_taken_as_it_is(kind: Any, text: str) -> None:
    assert TypeAdapter(kind).validate_python(text) == text
