"""Policy over a recipe: refusal of whatever reaches out of the app, into the host or another app.

It reads interpolated values, so a variable cannot hide one, and each file for itself, so an
overriding file cannot either. Each finding names file and line. Files, volumes and networks are
allowed by a list: what else a driver could be told is without end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agency.recipes.recipe.compose import ComposeFile, swarm_name, switches_check_off
from agency.recipes.recipe.exports import FILE as ABRA_SH
from agency.recipes.recipe.files import is_own_file
from agency.recipes.recipe.read import SAMPLE, RecipeFiles
from agency.recipes.recipe.yaml_lines import Loc

MAX_SWARM_NAME = 64  # Docker's limit for secrets and configs
_HOST_MODES = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")
_CAPABILITIES = {
    "ALL", "BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "PERFMON",
    "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME",
}  # fmt: skip
PROXY = "proxy"  # the network by which Traefik reaches apps
_MOUNTS = ("volume", "tmpfs")
_TMPFS = {
    "type": re.compile("tmpfs"),
    "device": re.compile("tmpfs"),
    "o": re.compile(r"(?:(?:(?:size|uid|gid|mode|nr_inodes)=\w+%?|ro|rw|no\w+)(?:,|\Z))*"),
}
_OVERLAY_OPTIONS = {"encrypted", "com.docker.network.driver.mtu"}
_TRUE = ("true", "yes", "on", "1", "y")
# Names by which the run, or abra, decides which app is deployed, and from which files.
_DECIDING = {"COMPOSE_FILE", "DOMAIN", "LETS_ENCRYPT_ENV", "RECIPE", "STACK_NAME", "TYPE"}


@dataclass(frozen=True, slots=True)
class Violation:
    """One refused line of a recipe."""

    rule: str
    where: str
    message: str


Found = Iterator[tuple[str, Loc, str]]
Rule = Callable[[RecipeFiles, Loc, dict[str, Any]], Found]


def violations(recipe: RecipeFiles) -> tuple[Violation, ...]:
    """List all that the policy refuses, in the order of files and lines.

    Raises:
        BadInputError: a file has not the form of a compose file.
    """
    found = [one for file in recipe.compose for one in _of_file(recipe, file)]
    if recipe.overlay is not None:
        found += _hidden(recipe.compose[-1])
    found += [*_exports(recipe), *_stack_names(recipe)]
    found += [
        Violation("name-too-long", recipe.compose[0].document.file, message)
        for message in _long_names(recipe)
    ]
    return tuple(found)


def _of_file(recipe: RecipeFiles, file: ComposeFile) -> list[Violation]:
    rules: tuple[tuple[str, Rule], ...] = (
        ("services", _service),
        ("volumes", _volume),
        ("networks", _network),
        ("secrets", _from_file),
        ("configs", _from_file),
    )
    found = [one for section, rule in rules for loc, _, part in file.section(section)
             for one in rule(recipe, loc, part)]  # fmt: skip
    found += [
        ("other-files", (key,), f"{key} reads files that were not examined")
        for key in ("include", "extends")
        if file.data.get(key)
    ]
    found.sort(key=lambda one: file.document.line(one[1]))
    return [Violation(rule, file.document.where(loc), text) for rule, loc, text in found]


def _hidden(overlay: ComposeFile) -> list[Violation]:
    """List what an overlay of the tests would hide of the recipe."""
    found = []
    for loc, _, part in overlay.section("services"):
        if part.get("image") or part.get("build"):
            told = (*loc, "image"), "an overlay may not change the image that is tested"
        elif switches_check_off(part.get("healthcheck")):
            told = (*loc, "healthcheck"), "an overlay may not switch a health check off"
        else:
            continue
        found.append(Violation("overlay-hides", overlay.document.where(told[0]), told[1]))
    return found


def _exports(recipe: RecipeFiles) -> Iterator[Violation]:
    """List lines of `abra.sh` by which abra could deploy with other values than were examined.

    It ignores indented ones, so of these only what the compose files ask for is refused.
    """
    known = _DECIDING | {variable.name for variable in recipe.variables}
    asked = known.union(*(file.asked for file in recipe.compose))
    for one in recipe.exports:
        where = f"{ABRA_SH}:{one.line}"
        twice = ", ".join(sorted(one.names & known))
        if one.value is None and (not one.indented or one.names & asked):
            form = "write `export NAME=value`, of letters, digits, . _ and -"
            yield Violation("abra-sh", where, f"an export that is not read: {form}")
        elif one.value is not None and twice:
            told = f"exports {twice}, which {SAMPLE} or the run sets"
            yield Violation("abra-sh", where, told)


def _stack_names(recipe: RecipeFiles) -> Iterator[Violation]:
    for variable in recipe.variables:
        if variable.name == "STACK_NAME" and variable.value != recipe.stack:
            where = f"{SAMPLE}:{variable.line}"
            yield Violation("stack-name", where, "sets STACK_NAME, which names the app's own stack")


def _service(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    yield from _privileges(loc, part)
    for i, network in enumerate(_items(part.get("networks"))):
        if network == "host":
            yield "host-network", (*loc, "networks", i), "the network of the host"
    for i, volume in enumerate(_items(part.get("volumes"))):
        yield from _mount((*loc, "volumes", i), volume)
    yield from _other_files(recipe, loc, part)


def _privileges(loc: Loc, part: dict[str, Any]) -> Found:
    if _true(part.get("privileged")):
        yield "privileged", (*loc, "privileged"), "privileged: true gives the host away"
    for key in _HOST_MODES:
        value = str(part.get(key) or "")
        if value == "host" or value.startswith("container:"):
            yield f"host-{key.removesuffix('_mode')}", (*loc, key), f"{key}: {value}"
    if part.get("devices"):
        yield "devices", (*loc, "devices"), "devices of the host"
    for i, name in enumerate(_items(part.get("cap_add"))):
        if str(name).upper().removeprefix("CAP_") in _CAPABILITIES:
            yield "capability", (*loc, "cap_add", i), f"the capability {name}"


def _other_files(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    files = part.get("env_file")
    for path in [files] if isinstance(files, dict) else _items(files):
        given = path.get("path", "") if isinstance(path, dict) else path
        yield from _file(recipe, (*loc, "env_file"), given)
    if part.get("extends"):
        yield "other-files", (*loc, "extends"), "extends reads files that were not examined"
    if part.get("credential_spec"):
        yield "outside-file", (*loc, "credential_spec"), "credential_spec reads files of the host"


def _mount(loc: Loc, volume: object) -> Found:
    kind = "volume"
    if isinstance(volume, dict):
        source = str(volume.get("source") or volume.get("src") or "")
        kind = str(volume.get("type") or kind)
        bind = kind not in _MOUNTS or _is_path(source)
    else:
        source, colon, _ = str(volume).partition(":")
        bind = bool(colon) and _is_path(source)
    if source.rstrip("/").endswith(("docker.sock", "containerd.sock")):
        yield "docker-socket", loc, f"mounts {source}, which commands the host"
    elif bind:
        yield "bind-mount", loc, f"mounts {source or f'by {kind} what is no volume'} of the host"


def _volume(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    yield from _foreign(recipe, loc, part)
    driver = str(part.get("driver") or "local")
    options = part.get("driver_opts")
    if driver != "local":
        yield "volume-driver", (*loc, "driver"), f"a volume of the driver {driver}"
    if options and not _is_tmpfs(options):
        told = "driver_opts mount what is the host's, but for type and device tmpfs"
        yield "bind-mount", (*loc, "driver_opts"), told


def _is_tmpfs(options: object) -> bool:
    if not isinstance(options, dict) or not {"type", "device"} <= set(options) <= set(_TMPFS):
        return False
    return all(_TMPFS[key].fullmatch(str(value).replace(" ", "")) for key, value in options.items())


def _network(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    name, driver = swarm_name(loc, part), str(part.get("driver") or "overlay")
    options = part.get("driver_opts") or {}
    if "host" in (name, driver):
        yield "host-network", loc, "the network of the host"
        return
    if name != PROXY:
        yield from _foreign(recipe, loc, part)
    if driver != "overlay":
        yield "network-driver", (*loc, "driver"), f"a network of the driver {driver}, not overlay"
    if not isinstance(options, dict) or not set(options) <= _OVERLAY_OPTIONS:
        told = f"driver_opts other than {' and '.join(sorted(_OVERLAY_OPTIONS))}"
        yield "network-driver", (*loc, "driver_opts"), told


def _from_file(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    yield from _foreign(recipe, loc, part)
    if part.get("file") is not None:
        yield from _file(recipe, (*loc, "file"), part["file"])


def _foreign(recipe: RecipeFiles, loc: Loc, part: dict[str, Any]) -> Found:
    """Refuse a name on the swarm that is not the app's own: it could be another app's."""
    name = swarm_name(loc, part)
    if name is not None and not name.startswith(f"{recipe.stack}_"):
        at = next((key for key in ("name", "external") if key in part), "")
        told = f"{loc[0]}.{loc[1]} is named {name!r}, which does not begin with ${{STACK_NAME}}_"
        yield "foreign-name", (*loc, at), told


def _file(recipe: RecipeFiles, loc: Loc, path: object) -> Found:
    if not isinstance(path, str) or path.startswith("~") or not is_own_file(recipe.directory, path):
        told = f"{str(path)[:200]!r} is outside the recipe, or no regular file of it"
        yield "outside-file", loc, told


def _long_names(recipe: RecipeFiles) -> Iterator[str]:
    for section in ("secrets", "configs"):
        for key, name in recipe.on_swarm(section).items():
            if len(name) > MAX_SWARM_NAME:
                yield f"{section}.{key} is named by {len(name)} characters, of at most 64: {name}"


def _items(part: object) -> list[Any]:
    if part is None:
        return []
    if isinstance(part, dict):
        return list(part)
    return part if isinstance(part, list) else [part]


def _true(value: object) -> bool:
    return value is True or str(value).lower() in _TRUE


def _is_path(source: str) -> bool:
    return source.startswith(("/", ".", "~", "\\"))
