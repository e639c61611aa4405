"""Check of a whole instance: its values, its recipients, stale files, missing secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from agency.errors import AgencyError
from agency.instance.load import INSTANCE_FILE, LoadedInstance, instance_file, load_instance
from agency.instance.needs import required_secrets
from agency.instance.problems import InstanceError, Problem, field_name
from agency.instance.reading.dependencies import note_dependencies
from agency.instance.reading.recipients import disagreements, line_in
from agency.instance.render import check_rendered
from agency.secrets import (
    Kind,
    missing_in_file,
    read_document,
    read_history,
    relink,
    remedy,
    set_command,
    sops,
    stored_names,
)
from agency.yaml_source import read_source

MAX_ABOVE = 40  # directories


def examine(path: Path) -> tuple[Problem, ...]:
    """Find every problem of an instance that needs no key to find; empty if it has none."""
    try:
        loaded = load_instance(path, check_recipients=False)
    except InstanceError as error:
        return error.problems
    source = read_source(str(loaded.path), loaded.path.read_bytes())
    note_dependencies(source, loaded.instance)
    found = (
        *source.problems,
        *disagreements(loaded.instance, loaded.root, source),
        *_stale(loaded),
        *_secrets(loaded),
    )
    return tuple(dict.fromkeys(found))  # a broken file is met twice


def advise(path: Path) -> tuple[Problem, ...]:
    """Find what is no mistake and yet unwise; empty for an instance that is invalid."""
    try:
        loaded = load_instance(path, check_recipients=False)
    except InstanceError:
        return ()
    return (*_without_second_way(loaded), *_without_backup(loaded), *_idle_loops(loaded))


def _without_second_way(loaded: LoadedInstance) -> tuple[Problem, ...]:
    instance = loaded.instance
    if not instance.services.observability.enable or instance.alerts.has_second_way:
        return ()
    source = read_source(str(loaded.path), loaded.path.read_bytes())
    line = source.line(("services", "observability"))
    told = (
        "no second way is set: when the control plane is down, nobody is told; set "
        "`alerts: {mail: {smarthost: HOST:PORT, from: ADDRESS, to: [ADDRESS]}}` or "
        "`alerts: {webhook: true}`"
    )
    return (Problem(str(loaded.path), line, "alerts", told),)


def _without_backup(loaded: LoadedInstance) -> tuple[Problem, ...]:
    # A machine whose secrets end with it is not backed up either.
    if loaded.instance.backup is not None or loaded.instance.secrets.provider != "sops":
        return ()
    told = (
        "no backup is set: what is not in git is lost with the machine; set "
        "`backup: {repository: sftp:USER@HOST:/PATH}`, see docs/backup-restore.md"
    )
    return (Problem(str(loaded.path), None, "backup", told),)


def _idle_loops(loaded: LoadedInstance) -> Iterator[Problem]:
    """Name the task loops that nothing does the tasks of, unless a host names a command."""
    source = read_source(str(loaded.path), loaded.path.read_bytes())
    for name, agent in loaded.instance.agents.items():
        program = agent.program
        if not agent.task_loop.enable or (program is not None and program.kind == "builtin"):
            continue
        why = "it has no program" if program is None else "on a host a command-line agent does none"
        told = (
            f"nothing does its tasks: {why}; give it a program of the kind builtin, or set "
            f"agency.agents.{name}.taskLoop.command in host.nix"
        )
        loc = ("agents", name, "taskLoop")
        yield Problem(str(loaded.path), source.line(loc), field_name(loc), told)


def _stale(loaded: LoadedInstance) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            str(loaded.generated / difference.path),
            None,
            "",
            f"is {difference.kind.value}: it is not what instance.yaml renders to; "
            "run `agency render`",
        )
        for difference in check_rendered(loaded)
    )


def _secrets(loaded: LoadedInstance) -> tuple[Problem, ...]:
    if loaded.instance.secrets.provider != "sops":
        return ()
    found = []
    config, encrypted = loaded.root / sops.CONFIG_FILE, loaded.root / sops.SECRETS_FILE
    if not config.exists():
        found.append(Problem(str(config), None, "", f"is missing; {relink(config)}"))
    if not encrypted.exists():
        what = "is missing; restore it from git, or make a new instance with `agency init`"
        return (*found, Problem(str(encrypted), None, "", what))
    try:
        return (*found, *_of_file(loaded, encrypted))
    except AgencyError as error:
        told = f"{error.message}; {error.hint}" if error.hint else error.message
        return (*found, Problem(str(encrypted), line_in(error.where), "", told))


def _of_file(loaded: LoadedInstance, file: Path) -> Iterator[Problem]:
    """Find what the names, the kinds of values and the history of the file show without a key."""
    document, root = read_document(file), loaded.root
    stored = stored_names(file, document)
    for spec in missing_in_file(required_secrets(loaded.instance), stored):
        state = "is empty" if spec.name in document.values else "is missing"
        line = document.lines.get(spec.name)
        yield Problem(str(file), line, spec.name, f"{state}; {remedy(spec, root)}")
    for name in document.named(Kind.NESTED, Kind.NOT_TEXT):
        what = f"is {document.kinds()[name]}, and a secret is one text"
        told = f"{what}; `{set_command(name, root)}`"
        yield Problem(str(file), document.lines.get(name), name, told)
    for former in sorted(read_history(file, document).former):
        yield Problem(
            str(file),
            None,
            "recipients",
            f"{former} was a recipient and still knows its data key, so that it can read later "
            f"values too; `agency secrets rekey {root}`, then rotate what it could read",
        )


def default_directory() -> Path:
    """Return the default instance: ./instance or the working directory, else one above it.

    Above, only an instance of this user (or of root) counts, and the top of a git repository is
    the last directory that is looked at.
    """
    beside = Path("instance")
    if beside.is_dir() and instance_file(beside).is_file():
        return beside
    if Path(INSTANCE_FILE).is_file():
        return Path()
    here = Path.cwd()
    for directory in (here, *here.parents)[:MAX_ABOVE]:
        found = directory / INSTANCE_FILE
        if found.is_file() and found.stat().st_uid in {os.geteuid(), 0}:
            return directory
        if (directory / ".git").exists():
            break
    return Path()
