"""A declaration of a command that contradicts itself, or another, is refused."""

from __future__ import annotations

from typing import Any

import pytest

from agency.control.grammar.grammar import Grammar
from agency.control.grammar.kinds import AgentName, Text, Topic
from agency.control.grammar.parse import parse
from agency.control.grammar.spec import CommandSpec, argument, flag
from agency.errors import InternalError

AGENT = argument("agent", AgentName(), "whose")
MAYBE = argument("place", Text(), "where", required=False)
PROJECT = flag("project", Text(), "on what")


def spec(*parameters: Any, **changes: Any) -> CommandSpec:
    fields: dict[str, Any] = {
        "noun": "things",
        "verb": "try",
        "summary": "Try.",
        "permission": "things.try",
        "parameters": parameters,
        **changes,
    }
    return CommandSpec(**fields)


def test_a_sound_one_is_taken() -> None:
    sound = spec(AGENT, MAYBE, PROJECT, target="agent")
    assert sound.usage == "!agency things try <agent> [place] [--project project]"
    assert (sound.changes, sound.approval) == (False, None)


@pytest.mark.parametrize(
    ("parameters", "changes", "why"),
    [
        ((AGENT, AGENT), {}, "two arguments have one name"),
        ((PROJECT, AGENT), {}, "a flag stands before an argument"),
        ((MAYBE, AGENT), {}, "a required argument stands after an optional one"),
        ((AGENT,), {"target": "name"}, "its target name is none of its arguments"),
    ],
)
def test_a_contradiction_is_refused(parameters: Any, changes: dict[str, str], why: str) -> None:
    with pytest.raises(InternalError, match=f"command things try: {why}"):
        spec(*parameters, **changes)


def test_two_of_one_name_are_refused() -> None:
    one, other = spec(aliases=("!try",)), spec(verb="do", aliases=("!do",))
    assert Grammar((one, other)).first_words[-2:] == ("!try", "!do")
    with pytest.raises(InternalError, match="two commands are called things try"):
        Grammar((one, spec(AGENT)))
    with pytest.raises(InternalError, match="two commands are called !try"):
        Grammar((one, spec(verb="do", aliases=("!try",))))


def test_a_default_makes_an_argument_optional() -> None:
    place = argument("place", Text(), "where", default="here")
    assert not place.required
    command = parse(Grammar((spec(place),)), "!agency things try")
    assert command.argument("place") == "here"


def test_topics_are_those_of_the_grammar_that_it_is_in() -> None:
    asking = spec(argument("topic", Topic(), "what", required=False), noun="help", verb=None)
    small = Grammar((asking,))
    large = Grammar((asking, spec(aliases=("!try",))))
    assert parse(large, "!agency help things try").argument("topic") == "things try"
    with pytest.raises(Exception, match='no help on "things try"'):
        parse(small, "!agency help things try")
    (topic,) = large.by_name["help"].parameters
    assert topic.kind.complete("t") == ("things", "things try", "try")
    assert topic.kind.complete("x") == ()
