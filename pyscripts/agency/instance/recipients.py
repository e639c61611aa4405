"""Who can decrypt an instance's secrets: instance.yaml, .sops.yaml and the file must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from agency.errors import AgencyError
from agency.instance.model import Instance
from agency.instance.problems import Problem
from agency.instance.source import Source
from agency.secrets import sops

_UPDATE = "run `agency render`, then `sops updatekeys {file}`"


def disagreements(instance: Instance, root: Path, source: Source) -> list[Problem]:
    """Every recipient that one of the three knows and another does not.

    Files that are not there are no disagreement; `agency check` reports them.
    """
    if instance.secrets.provider != "sops":
        return []
    config, encrypted = root / sops.CONFIG_FILE, root / sops.SECRETS_FILE
    return [
        *_compare(instance, source, config, sops.recipients_in_config, encrypted),
        *_compare(instance, source, encrypted, sops.recipients_in_file, encrypted),
    ]


def _compare(
    instance: Instance,
    source: Source,
    file: Path,
    read: Callable[[Path], frozenset[str]],
    encrypted: Path,
) -> Iterator[Problem]:
    if not file.exists():
        return
    try:
        present = read(file)
    except AgencyError as error:
        yield Problem(str(file), None, "", error.message)
        return
    listed = {key: owner for owner, key in instance.secrets.recipients.items()}
    update = _UPDATE.format(file=encrypted)
    for key in sorted(present - set(listed)):
        yield Problem(
            str(file),
            _line_of(file, key),
            "recipients",
            f"{key} can decrypt and is not in instance.yaml; list its owner under "
            f"secrets.recipients, or {update} to remove it",
        )
    for key in sorted(set(listed) - present):
        loc = ("secrets", "recipients", listed[key])
        yield Problem(
            source.file,
            source.line(loc),
            f"secrets.recipients.{listed[key]}",
            f"{key} is not a recipient in {file}; {update}",
        )


def _line_of(file: Path, text: str) -> int | None:
    needle = text.rpartition(":")[2]
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        if needle in line:
            return number
    return None
