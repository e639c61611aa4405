"""Options of `agency init`: from flags, and on a terminal from questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from agency.errors import UsageError
from agency.instance.fields.values import (
    AgentName,
    AgeRecipient,
    Domain,
    Feature,
    MatrixId,
    Name,
)
from agency.instance.making.create import InstanceOptions
from agency.instance.model import Services
from agency.instance.reading.dependencies import with_needed

Answer = TypeVar("Answer")

SERVICES = tuple(
    field.alias or name for name, field in Services.model_fields.items() if name != "matrix"
)
SOLO_S = 60
_SOLO = "solo"
DEFAULT_AGENTS = ("pm=pm", "developer=developer")

_NAME, _DOMAIN = TypeAdapter[str](Name), TypeAdapter[str](Domain)
_AGENT_NAME = TypeAdapter[str](AgentName)
_MATRIX_ID, _RECIPIENT = TypeAdapter[str](MatrixId), TypeAdapter[str](AgeRecipient)
_FEATURE = TypeAdapter[str](Feature)


def collect_options(
    directory: Path,
    *,
    name: str | None,
    domain: str | None,
    operators: tuple[str, ...],
    agents: tuple[str, ...],
    services: tuple[str, ...],
    recipients: tuple[str, ...],
    preview: tuple[str, ...] = (),
    federation: bool = False,
    approvers: tuple[str, ...] = (),
    solo_delay: int | None = None,
    ask: bool,
) -> InstanceOptions:
    """Collect the options from flags and, with `ask`, from a person's answers.

    Services that a chosen one needs are added.

    Raises:
        UsageError: a flag is wrong, or is missing and `ask` is false.
    """
    questions = _Questions(ask=ask)
    asked_name = questions.one("--name", "Name of the instance", _name, name, _guess(directory))
    asked_domain = questions.one("--domain", "Domain (the Matrix server name)", _domain, domain)
    example = f"@alice:{asked_domain}"
    asked_operators = questions.several(
        "--operator", f"Operators, as {example}", _matrix_id, operators
    )
    asked_approvers = tuple(_checked("--approver", _matrix_id, text) for text in approvers)
    if ask and len({*asked_operators, *asked_approvers}) < 2 and solo_delay is None:
        asked_approvers, solo_delay = _second(asked_operators[0])
    chosen_agents = questions.several(
        "--agent", "Agents, as name=role", _agent, agents, DEFAULT_AGENTS
    )
    chosen_services = questions.several(
        "--enable", f"Services beside matrix, of {', '.join(SERVICES)}", _service, services, ()
    )
    with_others, added = with_needed(chosen_services)
    others = [_checked("--recipient", _recipient, text) for text in recipients]
    owner = _owner(asked_operators[0])
    return InstanceOptions(
        name=asked_name,
        domain=asked_domain,
        operators=asked_operators,
        agents=_distinct("--agent", chosen_agents),
        services=with_others,
        added=added,
        recipients=_distinct("--recipient", others, taken=(owner,)),
        key_owner=owner,
        federation=federation,
        approvers=asked_approvers,
        solo_delay=solo_delay,
        preview=tuple(dict.fromkeys(_checked("--preview", _feature, text) for text in preview)),
    )


def _second(operator: str) -> tuple[tuple[str, ...], int | None]:
    """Ask who approves what the only operator asks for: another person, or they alone."""

    def read(text: str) -> str:
        if text.strip() == _SOLO:
            return _SOLO
        if (person := _matrix_id(text)) == operator:
            raise ValueError(f"must be another person, or {_SOLO}")
        return person

    question = f"Who else approves what needs an approval; {_SOLO}: you alone, after {SOLO_S} s"
    answer: str = click.prompt(question, default=_SOLO, value_proc=_for_prompt(read), err=True)
    return ((), SOLO_S) if answer == _SOLO else ((answer,), None)


def _guess(directory: Path) -> str | None:
    """Return the directory's name if it is a valid instance name."""
    try:
        return _name(directory.absolute().name)
    except ValueError:
        return None


def _owner(operator: str) -> str:
    """Name the owner of the new key: the first operator's localpart if it is a valid name."""
    localpart = operator[1:].partition(":")[0]
    try:
        return _name(localpart)
    except ValueError:
        return "operator"


def _valid(adapter: TypeAdapter[str], text: str) -> str:
    try:
        return adapter.validate_python(text.strip())
    except ValidationError as failure:
        raise ValueError(failure.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _name(text: str) -> str:
    return _valid(_NAME, text)


def _domain(text: str) -> str:
    return _valid(_DOMAIN, text)


def _matrix_id(text: str) -> str:
    return _valid(_MATRIX_ID, text)


def _agent(text: str) -> tuple[str, str]:
    name, equals, role = text.partition("=")
    if not equals:
        raise ValueError(f"must be name=role, such as {name.strip() or 'pm'}=developer")
    return _valid(_AGENT_NAME, name), _name(role)


def _recipient(text: str) -> tuple[str, str]:
    name, equals, key = text.partition("=")
    if not equals:
        raise ValueError("must be name=age1..., such as host=age1...")
    return _name(name), _valid(_RECIPIENT, key)


def _service(text: str) -> str:
    service = text.strip()
    if service not in SERVICES:
        raise ValueError(f"must be one of {', '.join(SERVICES)}")
    return service


def _feature(text: str) -> str:
    return _valid(_FEATURE, text)


def _checked(flag: str, parse: Callable[[str], Answer], text: str) -> Answer:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(str(error), where=flag, hint="see `agency init --help`") from None


def _distinct(
    flag: str, pairs: Iterable[tuple[str, str]], taken: tuple[str, ...] = ()
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found or name in taken:
            raise UsageError(f"the name {name!r} is there twice", where=flag, hint="rename one")
        found[name] = value
    return found


class _Questions:
    """Source of answers: flags first, then questions if a terminal is there."""

    def __init__(self, *, ask: bool) -> None:
        self._ask = ask

    def one(
        self,
        flag: str,
        question: str,
        parse: Callable[[str], str],
        given: str | None,
        default: str | None = None,
    ) -> str:
        if given is not None:
            return _checked(flag, parse, given)
        if self._ask:
            answer: str = click.prompt(
                question, default=default, value_proc=_for_prompt(parse), err=True
            )
            return answer
        if default is not None:
            return default
        raise _not_given(flag)

    def several(
        self,
        flag: str,
        question: str,
        parse: Callable[[str], Answer],
        given: tuple[str, ...],
        default: tuple[str, ...] | None = None,
    ) -> tuple[Answer, ...]:
        if given:
            return tuple(_checked(flag, parse, text) for text in given)
        if self._ask:
            words = _for_prompt(lambda text: _words(text, parse, needed=default is None))
            shown = None if default is None else " ".join(default)
            answers: tuple[Answer, ...] = click.prompt(
                f"{question} (separated by spaces)", default=shown, value_proc=words, err=True
            )
            return answers
        if default is not None:
            return tuple(_checked(flag, parse, text) for text in default)
        raise _not_given(flag)


def _words(text: str, parse: Callable[[str], Answer], *, needed: bool) -> tuple[Answer, ...]:
    words = text.replace(",", " ").split()
    if needed and not words:
        raise ValueError("at least one is needed")
    return tuple(parse(word) for word in words)


def _for_prompt(parse: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Adapt a parser to click, which asks again on its own usage error."""

    def convert(text: str) -> Answer:
        try:
            return parse(text)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    return convert


def _not_given(flag: str) -> UsageError:
    return UsageError(
        f"{flag} is needed: there is no terminal to ask on",
        where=flag,
        hint="see `agency init --help`",
    )
