"""Asking a machine about its agency, by the program `agency observe` on it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from agency.secrets.values import SecretValue
from agency.spinup.observing import questions as asked
from agency.spinup.observing.questions import Answers
from agency.spinup.remote.machine import Machine, MachineError, run
from agency.spinup.steps import Evidence

_ASK_S = 120.0


async def ask(machine: Machine, program: str, *questions: asked.Question) -> list[Evidence]:
    """The evidence that answers each question, in order; `program` is `agency` on that machine.

    Raises:
        MachineError: the machine has no such program, or a question could not be answered.
    """
    wanted = [question.model_dump(mode="json") for question in questions]
    return await _ask(machine, program, wanted)


async def ask_secrets(machine: Machine, program: str, values: Sequence[SecretValue]) -> Evidence:
    """Where any of these values is on the machine; they travel by standard input."""
    wanted: dict[str, object] = {"what": "secrets", "values": [value.reveal() for value in values]}
    return (await _ask(machine, program, [wanted]))[0]


async def _ask(
    machine: Machine, program: str, questions: Sequence[dict[str, object]]
) -> list[Evidence]:
    stdin = json.dumps({"questions": questions}).encode()
    output = await run(machine, program, "observe", stdin=stdin, timeout_s=_ASK_S)
    try:
        answers = Answers.model_validate_json(output).answers
    except ValidationError as error:
        raise MachineError(
            "its answer is not one of `agency observe`",
            where=machine.name,
            hint="is its agency as new as this one?",
        ) from error
    if len(answers) != len(questions):
        raise MachineError("not every question was answered", where=machine.name)
    return [_evidence(machine, answer.evidence, answer.error) for answer in answers]


def _evidence(machine: Machine, evidence: Evidence | None, error: str | None) -> Evidence:
    if evidence is None:
        raise MachineError(error or "no evidence and no reason", where=machine.name)
    return evidence
