"""Findings of the walk: each is one line that names the unit, the setting and the fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from unitwalk.places import (
    PARENTS,
    Identity,
    Place,
    ancestors,
    identity,
    made_by_scripts,
    may,
    places,
)
from unitwalk.units import EXEC_PREFIX, Machine, Unit

EXECS = (
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
    "ExecCondition",
)
MOUNTED = (
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "ExecPaths",
    "NoExecPaths",
)
ALWAYS = ("/nix/store/", "/dev/", "/proc/", "/sys/")
CREDENTIAL = re.compile(r"^/run/credentials/([^/]+)/(.+)$")
# A flag whose name begins with --write names what the program makes itself.
ABSOLUTE = re.compile(r"^(?:--?(?!-?write)[\w-]+=)?(/[\w./@%+:-]+)$")


@dataclass(frozen=True)
class Need:
    """A path that a unit needs: where it says so, and whether root looks instead of its user."""

    key: str
    path: str
    by_root: bool = False


def findings(machine: Machine) -> list[str]:
    """All faults of files and names, over every service that the machine starts."""
    known = places(machine)
    found: list[str] = []
    for unit in machine.reached():
        found += [f"{unit.name}: {fault}" for fault in _names(machine, unit)]
        who = identity(machine, unit)
        for need in _needs(machine, unit):
            fault = _fault(machine, known, unit, who, need)
            if fault:
                found.append(f"{unit.name}: {need.key} {need.path}: {fault}")
    return sorted(set(found))


def unheard(machine: Machine) -> list[str]:
    """Ports that are asked and on which nothing of this machine listens."""
    heard = {port for one in machine.facts["listens"] for port in one["ports"]}
    return sorted(
        f"{one['by']} asks {port}, where nothing listens"
        for one in machine.facts["asks"]
        for port in set(one["ports"]) - heard
    )


def unparsed(machine: Machine, root: click.Command) -> list[str]:
    """Command lines of ours that the program itself would refuse as usage."""
    found = []
    for name, words in machine.facts["commands"].items():
        fault = _usage(root, words)
        if fault:
            found.append(f"{name}: agency {' '.join(words)}: {fault}")
    return found


def _usage(root: click.Command, words: Sequence[str]) -> str | None:
    command, rest = root, list(words)
    while isinstance(command, click.Group):
        if command.invoke_without_command and (not rest or rest[0].startswith("-")):
            break  # it does something by itself
        if not rest:
            return "a group of commands, and none of them is named"
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return f"there is no command {rest[0]}"
        command, rest = found, rest[1:]
    try:
        values, left, _ = command.make_parser(click.Context(command)).parse_args(args=rest)
    except click.UsageError as error:
        return error.format_message()
    lacking = [one.name for one in command.params if one.required and not values.get(one.name)]
    return f"left over: {left}, missing: {lacking}" if left or lacking else None


def _names(machine: Machine, unit: Unit) -> Iterator[str]:
    facts = machine.facts
    dynamic = unit.last("DynamicUser") in ("true", "yes", "1")
    user, group = unit.last("User"), unit.last("Group")
    if user and not dynamic and user not in facts["users"] and not user.isdigit():
        yield f"User {user}: there is no such user"
    for one in [*unit.words("SupplementaryGroups"), *([group] if group and not dynamic else [])]:
        if one not in facts["groups"]:
            yield f"group {one}: there is no such group"
    for key in ("Wants", "Requires", "BindsTo", "After", "PartOf", "OnSuccess", "OnFailure"):
        for other in unit.words(key):
            if other.startswith("agency-") and other not in machine.units:
                yield f"{key} {other}: there is no such unit"


def _needs(machine: Machine, unit: Unit) -> Iterator[Need]:
    yield from _handed(unit)
    directory = unit.last("WorkingDirectory")
    if directory.startswith("/"):
        yield Need("WorkingDirectory", directory)
    yield from _run(unit)
    for value in unit.words("Environment"):
        name, _, path = value.partition("=")
        if path.startswith("/") and ":" not in path:
            yield Need(f"Environment {name}", path)
    for path in machine.facts["opens"].get(unit.name, []):
        yield Need("configuration", path)


def _handed(unit: Unit) -> Iterator[Need]:
    """Paths that systemd itself opens or mounts; a dash before one says that it may lack.

    A credential that is set, too, stands in for a file that is not there, systemd.exec(5).
    """
    fallback = {value.partition(":")[0] for value in unit.all("SetCredential")}
    for value in unit.all("LoadCredential"):
        name, colon, path = value.partition(":")
        if colon and path.startswith("/") and name not in fallback:
            yield Need("LoadCredential", path, by_root=True)
    for key in ("EnvironmentFile", *MOUNTED):
        for value in unit.words(key):
            if not value.startswith("-"):
                yield Need(key, value.lstrip("+").partition(":")[0], by_root=True)


def _run(unit: Unit) -> Iterator[Need]:
    """Paths in command lines."""
    own = _made_directories(unit)
    for key in EXECS:
        for value in unit.all(key):
            prefix = EXEC_PREFIX.match(value)
            by_root = prefix is not None and bool(set("+!") & set(prefix[0]))
            for word in value[prefix.end() if prefix else 0 :].split():
                found = ABSOLUTE.match(word)
                if found and found[1] not in own:
                    yield Need(key, found[1], by_root)


def _made_directories(unit: Unit) -> set[str]:
    """Directories that a step before the start makes."""
    steps = [value.split() for value in unit.all("ExecStartPre")]
    return {word for words in steps if words and words[0].endswith("/mkdir") for word in words[1:]}


def _fault(
    machine: Machine, known: dict[str, list[Place]], unit: Unit, who: Identity, need: Need
) -> str | None:
    path = need.path.rstrip("/") or "/"
    if path.startswith(ALWAYS) or path in PARENTS:
        return None
    credential = CREDENTIAL.match(path)
    if credential:
        return _credential_fault(unit, credential[1], credential[2])
    if path in unit.words("ConditionPathExists", "ConditionPathIsDirectory"):
        return None
    makers = _makers(machine, known, path)
    if not makers:
        return "nothing makes it"
    late = [maker for maker in makers if not _is_there(machine, unit, maker)]
    if len(late) == len(makers):
        return f"{late[0]} makes it, and is not both wanted and waited for"
    if need.by_root or who.all_powerful:
        return None
    return _closed(known, who, path, unit)


def _credential_fault(unit: Unit, owner: str, name: str) -> str | None:
    if owner != unit.name:
        return f"a credential of {owner}"
    given = {value.partition(":")[0] for value in unit.all("LoadCredential", "SetCredential")}
    return None if name in given else "no such credential is loaded"


def _makers(machine: Machine, known: dict[str, list[Place]], path: str) -> list[str | None]:
    """Units that make it, None for what is there before any service; the nearest place decides."""
    scripts = made_by_scripts(machine, path)
    for one in ancestors(path):
        if one in PARENTS:
            break
        if one in known:
            return [place.unit for place in known[one]] + list(scripts)
    return list(scripts)


def _is_there(machine: Machine, unit: Unit, maker: str | None) -> bool:
    if maker is None or maker == unit.name:
        return True
    if maker.endswith(".socket") and maker in machine.pulled_by("sockets.target"):
        return True
    early = "sysinit.target" in machine.units[maker].wanted_by if maker in machine.units else False
    pulled = early or maker in machine.pulled_by(unit.name)
    return pulled and maker in machine.before(unit.name)


def _closed(known: dict[str, list[Place]], who: Identity, path: str, unit: Unit) -> str | None:
    for one in ancestors(path):
        own = [place for place in known.get(one, []) if place.unit == unit.name]
        for place in own or known.get(one, []):
            # A directory may be meant to be listed or only passed; that is not known.
            bit = 4 if one == path and not place.mode & 0o111 else 1
            if not may(who, place, bit):
                return f"{who.user} may not pass {one} ({place.user}:{place.group} {place.mode:o})"
    return None
