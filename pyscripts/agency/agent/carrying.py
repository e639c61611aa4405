"""Restart of the agent in its own process, and what is carried over it.

    restart asked ──▶ all work ended ──▶ memory file ──▶ execve ──▶ same pid, new incarnation
                                         listening socket ─────▶

It holds for every runtime alike: the runtime sees neither an end nor another pid, the token stays
valid, and connections wait in the kernel's queue. Secrets are not carried: the control plane leases
them again when it sees another incarnation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from agency.agent.answers import CarriedAnswer
from agency.errors import BadInputError
from agency.protocols import ConfigDocument

CARRIED_OPTION = "--carried-fd"
_LISTEN_OPTION = "--listen-fd"
_MOST_BYTES = 16 * 1024 * 1024


class Carried(BaseModel):
    """State that a restart keeps: the configuration and the answers by idempotency key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: ConfigDocument | None = None
    answers: tuple[CarriedAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """Order to begin anew: descriptors that the next program inherits.

    Nothing listens in an agent that dials its runtime.
    """

    listening: int | None
    carried: int


def write_carried(carried: Carried) -> int:
    """Write to a file in memory, which ends with its last descriptor; return one to inherit."""
    descriptor = os.memfd_create("agency-agent-carried", 0)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(carried.model_dump_json().encode())
    return descriptor


def read_carried(descriptor: int) -> Carried:
    """Read what a predecessor wrote, and close the descriptor.

    Raises:
        BadInputError: it is not the memory file of a predecessor.
    """
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb") as file:
            return Carried.model_validate_json(file.read(_MOST_BYTES))
    except (OSError, ValidationError) as error:
        raise BadInputError(
            "what was carried over the restart cannot be read",
            where=f"descriptor {descriptor}",
            hint="start the agent by its runtime",
        ) from error


def next_argv(argv: Sequence[str], again: Again) -> list[str]:
    """Make the arguments of the next program from those of this one."""
    kept: list[str] = []
    skip = False
    for each in argv:
        if skip or each in (_LISTEN_OPTION, CARRIED_OPTION):
            skip = not skip
        elif not each.startswith((f"{_LISTEN_OPTION}=", f"{CARRIED_OPTION}=")):
            kept.append(each)
    listening = [] if again.listening is None else [_LISTEN_OPTION, str(again.listening)]
    return [*kept, *listening, CARRIED_OPTION, str(again.carried)]


def begin_again(again: Again) -> NoReturn:
    """Replace this program by a new run of the same command; nothing of it is left."""
    for descriptor in (again.listening, again.carried):
        if descriptor is not None:
            os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *next_argv(sys.orig_argv[1:], again)], os.environ)  # noqa: S606
