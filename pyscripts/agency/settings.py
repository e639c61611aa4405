"""Settings that a program reads at start: one bounded JSON file, checked by a strict model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agency.errors import BadInputError, PrerequisiteError

MAX_BYTES = 1024 * 1024


class Strict(BaseModel):
    """Base of models that refuse unknown fields, are immutable, and never show their input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_bounded(
    path: Path, *, most: int = MAX_BYTES, what: str = "the settings", hint: str | None = None
) -> bytes:
    """Read a file of at most `most` bytes; `what` names it in the message.

    Raises:
        PrerequisiteError: the file cannot be read. BadInputError: it is larger.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(most + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read {what}: {error.strerror or error}", where=str(path), hint=hint
        ) from error
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
