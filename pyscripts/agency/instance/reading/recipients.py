"""Comparison of recipients: instance.yaml, .sops.yaml and the encrypted file must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from agency.errors import AgencyError
from agency.instance.model import Instance
from agency.instance.problems import Problem
from agency.secrets import relink, sops
from agency.yaml_source import Source


def disagreements(instance: Instance, root: Path, source: Source) -> list[Problem]:
    """Find every recipient that .sops.yaml or the encrypted file lacks, or has in excess.

    Missing files are skipped; `agency check` reports them.
    """
    if instance.secrets.provider != "sops":
        return []
    return [
        *_compare(instance, source, root / sops.CONFIG_FILE, sops.recipients_in_config),
        *_compare(instance, source, root / sops.SECRETS_FILE, sops.recipients_in_file),
    ]


def _compare(
    instance: Instance, source: Source, file: Path, read: Callable[[Path], frozenset[str]]
) -> Iterator[Problem]:
    if not file.exists():
        return
    try:
        present = read(file)
    except AgencyError as error:
        hint = f"; {error.hint}" if error.hint else ""
        yield Problem(str(file), line_in(error.where), "", f"{error.message}{hint}")
        return
    listed = {key: owner for owner, key in instance.secrets.recipients.items()}
    update = _update(file)
    for key in sorted(present - set(listed)):
        yield Problem(
            str(file),
            _line_of(file, key),
            "recipients",
            f"{key} can decrypt and is not in instance.yaml; list its owner under "
            f"secrets.recipients, or remove it: {update}",
        )
    for key in sorted(set(listed) - present):
        owner = listed[key]
        yield Problem(
            source.file,
            source.line(("secrets", "recipients", owner)),
            f"secrets.recipients.{owner}",
            f"{key} is not a recipient in {file}; {update}",
        )


def _update(file: Path) -> str:
    """Return the command that gives a file the recipients of instance.yaml."""
    if file.name != sops.CONFIG_FILE:
        return f"run `agency secrets rekey {file.parent.parent}`"
    render = f"run `agency render {file.parent}`"
    # A copy, made without symbolic links, is not what render writes.
    return render if file.is_symlink() else f"{render}, then {relink(file)}"


def line_in(where: str | None) -> int | None:
    """Return the line that an error's place ends in."""
    line = (where or "").rpartition(":")[2]
    return int(line) if line.isdigit() else None


def _line_of(file: Path, recipient: str) -> int | None:
    needle = recipient.rpartition(":")[2]
    lines = file.read_text(errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if needle in line), None)
