"""Definitions to activate: the export and the instance, read and filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from agency import naming
from agency.errors import BadInputError, PrerequisiteError
from agency.guests.activation.joining import join_parts
from agency.instance import check_rendered, load_instance
from agency.secrets import SECRETS_FILE
from agency.settings import Strict, parse, read_bounded

ENCRYPTED_FILE = "etc/agency/secrets.yaml"
# Where an exported file may go, as the beginning of its path below /.
ROOTS = ("etc/", "usr/lib/")
MAX_FILE = 4 * 1024 * 1024

PARTS = "parts"

_START = "start.json"
_JOINED = "joined"  # JSON documents of a part that are joined with those of every machine
_PORTABLE_HINT = "name the directory modules/portable of a checkout"
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|socket|timer|target|slice|path|mount)\Z")
_PATH = re.compile(r"[A-Za-z0-9@_.-]+(/[A-Za-z0-9@_.-]+)+\Z")


class Start(Strict):
    """start.json: the units to start; in `agentUnits`, AGENT stands for each agent's name."""

    units: tuple[str, ...]
    agentUnits: tuple[str, ...] = ()  # noqa: N815 - the document's own key


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file as it is to be, owned by root; `path` is below /, without a slash before it."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything a machine is to have: files by path, units to start, names of agents."""

    files: Mapping[str, WantedFile]
    units: tuple[str, ...]
    agents: tuple[str, ...]
    needs_age_key: bool


def load_definitions(portable: Path, instance: Path, parts: Sequence[str] = ()) -> Definitions:
    """Read the exported definitions and fill them in for an instance.

    `parts` are those of the export that this machine has beside what every one has.

    Raises:
        PrerequisiteError: something is not there or cannot be read.
        BadInputError: the instance is wrong or stale, or the export is damaged.
    """
    loaded = load_instance(instance)
    stale = check_rendered(loaded)
    if stale:
        raise BadInputError(
            "; ".join(map(str, stale)),
            where=str(loaded.generated),
            hint="run `agency render` in the instance's directory",
        )
    facts = json.loads((loaded.generated / "instance.json").read_text())
    templates = {kind: dict(_files(portable / kind)) for kind in ("machine", "instance", "agent")}
    exports = [portable, *(portable / PARTS / part for part in parts)]
    generated = dict(_files(loaded.generated))
    texts = filled(templates, facts, generated)
    documents: dict[str, dict[str, str]] = {}
    for export in exports[1:]:
        own = {kind: dict(_optional(export / kind)) for kind in ("machine", "instance")}
        texts = with_part(texts, filled(own | {"agent": {}}, facts, generated), export.name)
        more = {"machine": {}, "instance": dict(_optional(export / _JOINED)), "agent": {}}
        documents[export.name] = filled(more, facts, generated)
    texts = join_parts(texts, documents)
    files = {path: wanted_file(path, text) for path, text in texts.items()}
    by_sops = loaded.instance.secrets.provider == "sops"
    if by_sops:
        content = _bytes(loaded.root / SECRETS_FILE)
        files[ENCRYPTED_FILE] = WantedFile(ENCRYPTED_FILE, content, 0o600)
    agents = tuple(agent["name"] for agent in facts["agentsResolved"])
    units = tuple(unit for export in exports for unit in _units(export, agents))
    return Definitions(files, units, agents, needs_age_key=by_sops)


def with_part(texts: Mapping[str, str], part: Mapping[str, str], name: str) -> dict[str, str]:
    """Add the files of a part, none of which may be there already.

    Raises:
        BadInputError: the part has a file that is there already.
    """
    both = sorted(texts.keys() & part.keys())
    if both:
        raise BadInputError(f"part {name}: is there already", where=both[0], hint=_PORTABLE_HINT)
    return {**texts, **part}


def filled(
    templates: Mapping[str, Mapping[str, str]],
    facts: Mapping[str, Any],
    generated: Mapping[str, str],
) -> dict[str, str]:
    """Every file's text by its path: those of every machine, of the instance, of each agent.

    Raises:
        BadInputError: a template names what is not there, or a path leads elsewhere.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the files are no web pages
    )

    def fill(source: str, text: str, **values: object) -> str:
        try:
            return environment.from_string(text).render(**values)
        except jinja2.TemplateError as error:
            raise BadInputError(
                f"the template cannot be filled in: {error.message}",
                where=source,
                hint=_PORTABLE_HINT,
            ) from error

    texts = dict(templates["machine"])
    for path, text in templates["instance"].items():
        texts[path] = fill(path, text, instance=facts, generated=generated)
    for agent in facts["agentsResolved"]:
        whole = {**facts.get("agents", {}).get(agent["name"], {}), **agent}
        for path, text in templates["agent"].items():
            texts[agent_path(path, agent["name"])] = fill(path, text, agent=whole)
    for path in texts:
        _check_path(path)
    return texts


def agent_path(path: str, name: str) -> str:
    """Make the path of one agent's file: AGENT_ is its name with underscores, AGENT its name."""
    if not naming.is_agent_name(name):
        raise BadInputError("cannot be the name of an agent", where=name)
    return path.replace("AGENT_", name.replace("-", "_")).replace("AGENT", name)


def wanted_file(path: str, text: str) -> WantedFile:
    """Make a file of its text: one that begins as a script is executable."""
    return WantedFile(path, text.encode(), 0o755 if text.startswith("#!") else 0o644)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path.startswith(ROOTS) or ".." in parts or "." in parts or not _PATH.match(path):
        raise BadInputError(
            f"an exported file may only go below {', '.join(ROOTS)}",
            where=path,
            hint=_PORTABLE_HINT,
        )


def known_parts(portable: Path) -> tuple[str, ...]:
    """List the parts of an export."""
    directory = portable / PARTS
    if not directory.is_dir():
        return ()
    return tuple(sorted(path.name for path in directory.iterdir() if path.is_dir()))


def load_start(portable: Path) -> Start:
    """Read which units are to be started.

    Raises:
        PrerequisiteError: it cannot be read. BadInputError: it is no such list.
    """
    file = portable / _START
    return parse(Start, _bytes(file), where=str(file))


def _units(portable: Path, agents: tuple[str, ...]) -> tuple[str, ...]:
    start = load_start(portable)
    names = start.units + tuple(
        agent_path(unit, agent) for agent in agents for unit in start.agentUnits
    )
    for name in names:
        if not _UNIT.match(name):
            raise BadInputError(f"{name!r} is not the name of a unit", where=str(portable / _START))
    return names


def _optional(directory: Path) -> Iterator[tuple[str, str]]:
    """Read the files of a folder that a part need not have."""
    if directory.is_dir():
        yield from _files(directory)


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    if not directory.is_dir():
        raise PrerequisiteError("there is no such directory", where=str(directory))
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            try:
                yield path.relative_to(directory).as_posix(), _bytes(path).decode()
            except UnicodeDecodeError as error:
                raise BadInputError("is not text", where=str(path)) from error


def _bytes(path: Path) -> bytes:
    return read_bounded(path, most=MAX_FILE, what="it", hint=_PORTABLE_HINT)
