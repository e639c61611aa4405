"""Check of a whole instance: its values, its recipients, stale files, missing secrets."""

from __future__ import annotations

from pathlib import Path

from agency.errors import AgencyError
from agency.instance.load import GENERATED, LoadedInstance, instance_file, load_instance
from agency.instance.needs import required_secrets
from agency.instance.preview import note_unwritten
from agency.instance.problems import InstanceError, Problem
from agency.instance.reading.recipients import disagreements
from agency.instance.reading.source import read_source
from agency.instance.render import check_rendered
from agency.secrets import missing_in_file, remedy, sops


def examine(path: Path) -> tuple[Problem, ...]:
    """Find every problem of an instance that needs no key to find; empty if it has none."""
    try:
        loaded = load_instance(path, check_recipients=False)
    except InstanceError as error:
        return error.problems
    source = read_source(str(loaded.path), loaded.path.read_bytes())
    note_unwritten(source, loaded.instance)
    return (
        *source.problems,
        *disagreements(loaded.instance, loaded.root, source),
        *_stale(loaded),
        *_secrets(loaded),
    )


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
        link = f"ln -s {GENERATED}/sops.yaml {sops.CONFIG_FILE}"
        found.append(
            Problem(str(config), None, "", f"is missing; run `{link}` beside instance.yaml")
        )
    if not encrypted.exists():
        what = "is missing; restore it from git, or make a new instance with `agency init`"
        return (*found, Problem(str(encrypted), None, "", what))
    try:
        stored = sops.names_in_file(encrypted)
    except AgencyError as error:
        return (*found, Problem(str(encrypted), None, "", f"{error.message}; {error.hint or ''}"))
    missing = missing_in_file(required_secrets(loaded.instance), stored)
    return (
        *found,
        *(
            Problem(str(encrypted), None, spec.name, f"is missing; {remedy(spec, loaded.root)}")
            for spec in missing
        ),
    )


def default_directory() -> Path:
    """Return the default instance: `./instance` if that is one, else the working directory."""
    beside = Path("instance")
    return beside if instance_file(beside).is_file() and beside.is_dir() else Path()
