"""Strategies for commands and their texts."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

from agency.control.commands import GRAMMAR, parse
from agency.control.grammar.characters import first_problem
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError
from agency.control.grammar.keys import (
    ApprovalId,
    ChainHead,
    OperationId,
    TokenDigest,
    TokenId,
)
from agency.control.grammar.kinds import (
    AgentName,
    Count,
    Digest,
    OneOf,
    Reason,
    SecretName,
    Settings,
    Text,
    Topic,
    TraceId,
    UserId,
    Variables,
    variables_of,
)
from agency.control.grammar.printing import quoted
from agency.control.grammar.spec import CommandSpec, Parameter

FORBIDDEN = st.one_of(
    st.sampled_from("\x00\t\n\r\x7f\x85\u200b\u200e\u202e\u2066\ufeff\u00ad\u2028\u3000\ufe0f"),
    st.sampled_from("\u201c\u2019\u2014\u061c\u180e\ud800\ue000\U000e0041\u0378\u3164"),
    st.characters(categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]),
)
VISIBLE = st.characters(exclude_categories=["C", "Z", "M"])
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,23}[a-z0-9])?", fullmatch=True)
TEXTS = (
    st.text(st.one_of(VISIBLE, st.sampled_from(" \"'\\-=")), min_size=1, max_size=200)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: text.strip() and len(text) <= 200 and first_problem(text) is None)
)


VARIABLES = (
    st.dictionaries(st.from_regex(r"[a-z][A-Za-z0-9]{0,9}", fullmatch=True), TEXTS, min_size=1)
    .map(lambda made: " ".join(f"{name}={value.strip()}" for name, value in made.items()).strip())
    .filter(lambda text: first_problem(text) is None and len(text) <= 2000)
    .filter(
        lambda text: len({n for n, _ in variables_of(text) or ()}) == len(variables_of(text) or "x")
    )
)


def without_mark(text: str) -> str:
    """A reason as it is kept: without `reason=` before it."""
    while text.startswith("reason="):
        text = text.removeprefix("reason=")
    return text.strip()


SETTINGS = st.lists(
    st.builds(
        "{}{}={}".format,
        st.from_regex(r"[a-zA-Z_][A-Za-z0-9_]{0,5}(\.[a-z-]{1,5})?", fullmatch=True),
        st.sampled_from(["", "+"]),
        st.just("") | TEXTS.filter(lambda text: len(text) < 50),
    ),
    min_size=1,
    max_size=4,
)
PATTERNS = {
    ApprovalId: r"(op|ask)-[0-9a-f]{6,26}",
    OperationId: r"op-[0-9a-f]{6,26}",
    SecretName: r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
    TraceId: r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    UserId: r"@[a-z0-9._=/+-]{1,20}:[a-z0-9.-]{1,20}",
}


def values(parameter: Parameter) -> st.SearchStrategy[str | int]:
    pattern = PATTERNS.get(type(parameter.kind))
    if pattern is not None:
        return st.from_regex(pattern, fullmatch=True)
    match parameter.kind:
        case AgentName():
            return NAMES
        case Reason():
            return TEXTS.map(without_mark).filter(bool)
        case Variables():
            return VARIABLES
        case Text():
            return TEXTS
        case OneOf(words=words):
            return st.sampled_from(words)
        case Count(most=most):
            return st.integers(1, most)
        case Topic():
            return st.sampled_from(sorted(GRAMMAR.topics))
    return values_of_key(parameter)


def values_of_key(parameter: Parameter) -> st.SearchStrategy[str | int]:
    match parameter.kind:
        case Settings():
            return SETTINGS.map(lambda words: " ".join(map(quoted, words)))
        case Digest() | TokenDigest():
            return st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
        case TokenId():
            return st.from_regex(r"[0-9a-f]{8,64}", fullmatch=True)
        case ChainHead():
            return st.from_regex(r"(0|[1-9][0-9]{0,14}):[0-9a-f]{64}", fullmatch=True)
    raise AssertionError(f"no values for {parameter.kind}")


def commands_of(spec: CommandSpec) -> st.SearchStrategy[Command]:
    required = {each.name: values(each) for each in spec.parameters if each.required}
    optional = {each.name: values(each) for each in spec.parameters if not each.required}
    return st.fixed_dictionaries(required, optional=optional).map(
        lambda arguments: Command(spec, arguments)
    )


COMMANDS_OF_ALL_KINDS = st.sampled_from(GRAMMAR.commands).flatmap(commands_of)
STARTS = st.sampled_from(
    [GRAMMAR.by_name["agents start"], GRAMMAR.by_name["agents restart"]]
).flatmap(commands_of)


def parsed(text: str) -> Command | CommandError:
    try:
        return parse(text, max_bytes=65536)
    except CommandError as error:
        return error
