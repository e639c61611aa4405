"""Settings that a program reads at start: one bounded JSON file, checked by a strict model."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from agency.errors import BadInputError, PrerequisiteError

MAX_BYTES = 1024 * 1024


class Strict(BaseModel):
    """Base of models that refuse unknown fields, are immutable, and never show their input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Written(BaseModel):
    """Base of models of what people write: refuses unknown keys and coercions; immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_bounded(
    path: Path,
    *,
    most: int = MAX_BYTES,
    what: str = "the settings",
    hint: str | None = None,
    private: bool = False,
) -> bytes:
    """Read a file of at most `most` bytes; `what` names it in the message.

    A `private` file must be a regular file that only its owner, this user, may read.

    Raises:
        PrerequisiteError: the file cannot be read, or others may read it.
        BadInputError: it is larger, or no regular file.
    """
    extra = os.O_NOFOLLOW | os.O_NONBLOCK if private else 0
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | extra)) as handle:
            facts = os.fstat(handle.fileno())
            if private and not stat.S_ISREG(facts.st_mode):
                raise BadInputError("not a regular file", where=str(path), hint=hint)
            data = handle.read(most + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read {what}: {error.strerror or error}", where=str(path), hint=hint
        ) from error
    if private and (facts.st_mode & 0o077 or facts.st_uid != os.geteuid()):
        raise PrerequisiteError(
            f"others may read {what}", where=str(path), hint="chmod 600, and make it your own"
        )
    if len(data) > most:
        raise BadInputError(f"larger than {most} bytes", where=str(path), hint=hint)
    return data


def parse(model: type[ModelT], data: bytes, *, where: str, hint: str | None = None) -> ModelT:
    """Parse and validate JSON.

    Raises:
        BadInputError: the data is invalid; the message names each field, never its value.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise BadInputError(explain(error), where=where, hint=hint) from None


def load(
    path: Path,
    model: type[ModelT],
    *,
    most: int = MAX_BYTES,
    what: str = "the settings",
    hint: str | None = None,
    broken_hint: str | None = None,
) -> ModelT:
    """Read and validate a file; `hint` is for an unreadable file, `broken_hint` for invalid data.

    Raises:
        PrerequisiteError: the file cannot be read. BadInputError: it is too large or invalid.
    """
    data = read_bounded(path, most=most, what=what, hint=hint)
    return parse(model, data, where=str(path), hint=broken_hint or hint)


def explain(error: ValidationError, most: int = 5) -> str:
    """Describe the first faults that pydantic found, by field, without the values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return f"not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}"
    told = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:most]]
    if len(faults) > most:
        told.append(f"and {len(faults) - most} more")
    return "; ".join(told)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "document"
