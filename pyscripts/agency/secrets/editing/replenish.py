"""Generation of internal secrets: those that an instance lacks, and new ones in place of old."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterable
from pathlib import Path

from agency.errors import BadInputError
from agency.secrets.classes import SecretClass, SecretSpec
from agency.secrets.editing.change import Change, plan_values
from agency.secrets.encryption import sops
from agency.secrets.encryption.keys import Keys
from agency.secrets.encryption.program import instance_of
from agency.secrets.generators import Entropy, generate
from agency.secrets.providers import missing_in_file
from agency.secrets.values import SecretValue

REGENERATE = "regenerate"
PREPEND = "prepend"  # a new value before the old ones, which are read for a while
_KEPT = 4  # values that such a secret has then


def plan_missing(
    specs: Iterable[SecretSpec],
    file: Path,
    keys: Keys,
    *,
    today: str,
    entropy: Entropy = secrets.token_bytes,
) -> Change | None:
    """Plan to add the internal secrets (A2) of `specs` that `file` lacks; None if it lacks none.

    Raises:
        BadInputError: there is no encrypted file.
        PrerequisiteError: this machine cannot decrypt.
    """
    wanted = tuple(specs)
    lacking = missing_in_file(wanted, sops.names_in_file(file))
    made = [spec for spec in lacking if spec.cls is SecretClass.A2]
    if not made:
        return None
    values = {spec.name: generate(spec.generator, entropy) for spec in made}
    return plan_values(file, keys, values, wanted, today=today)


def plan_rotation(
    specs: Iterable[SecretSpec],
    file: Path,
    keys: Keys,
    *,
    today: str,
    entropy: Entropy = secrets.token_bytes,
) -> Change:
    """Plan new values for `specs`, which the catalogue says how to generate.

    Raises:
        BadInputError: one of them is not made anew by its generator; the error says how it is
            rotated. Nothing is planned then.
        PrerequisiteError: this machine cannot decrypt.
    """
    wanted = tuple(specs)
    others = [spec for spec in wanted if not is_regenerated(spec)]
    if others:
        root = instance_of(file)
        raise BadInputError(
            "not rotated by a generator: "
            + "; ".join(f"{spec.name} ({spec.cls.value})" for spec in others),
            hint=" / ".join(f"{spec.name}: {how_to_rotate(spec, root)}" for spec in others),
        )
    values = {spec.name: generate(spec.generator, entropy) for spec in wanted}
    if prepended := [spec.name for spec in wanted if spec.procedure == PREPEND]:
        before = sops.decrypt(file, keys)
        values |= {name: _before(values[name], before.get(name)) for name in prepended}
    return plan_values(file, keys, values, wanted, today=today)


def _before(fresh: SecretValue, old: SecretValue | None) -> SecretValue:
    """Put a new value before the old ones, of which the oldest are dropped."""
    words = [] if old is None else old.reveal().split()
    return SecretValue(" ".join([fresh.reveal(), *words][:_KEPT]))


def is_regenerated(spec: SecretSpec) -> bool:
    """Return whether `agency secrets rotate` makes the new value."""
    return spec.cls is SecretClass.A2 and spec.procedure in (REGENERATE, PREPEND)


def how_to_rotate(spec: SecretSpec, root: str) -> str:
    """Say how a secret is rotated: where it is issued, or the commands."""
    where = shlex.quote(root)
    if is_regenerated(spec):
        steps = f"`agency secrets rotate {spec.name} --instance {where}`"
    elif spec.cls is SecretClass.A1:
        steps = f"{spec.instructions}; `agency secrets set {spec.name} --instance {where}`"
    else:
        steps = spec.how
    return f"{steps}; {spec.note}" if spec.note else steps
