"""Policy over a recipe's compose files: refusal of whatever reaches out of the app into the host.

It reads interpolated values, so a variable cannot hide one, and each file for itself, so an
overriding file cannot either. Each finding names file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agency.recipes.recipe.compose import ComposeFile
from agency.recipes.recipe.exports import FILE as ABRA_SH
from agency.recipes.recipe.read import SAMPLE, RecipeFiles
from agency.recipes.recipe.yaml_lines import Loc

MAX_SWARM_NAME = 64  # Docker's limit for secrets and configs
_HOST_MODES = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")
_CAPABILITIES = {
    "ALL", "BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "PERFMON",
    "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME",
}  # fmt: skip
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
Rule = Callable[[Loc, dict[str, Any]], Found]


def violations(recipe: RecipeFiles) -> tuple[Violation, ...]:
    """List all that the policy refuses, in the order of files and lines.

    Raises:
        BadInputError: a file has not the form of a compose file.
    """
    found = [one for file in recipe.compose for one in _of_file(file)]
    if recipe.overlay is not None:
        found += _hidden(recipe.compose[-1])
    found += [*_exports(recipe), *_stack_names(recipe)]
    found += [
        Violation("name-too-long", recipe.compose[0].document.file, message)
        for message in _long_names(recipe)
    ]
    return tuple(found)


def _of_file(file: ComposeFile) -> list[Violation]:
    rules: tuple[tuple[str, Rule], ...] = (
        ("services", _service),
        ("volumes", _volume),
        ("networks", _network),
        ("secrets", _from_file),
        ("configs", _from_file),
    )
    found = [one for section, rule in rules for loc, _, part in file.section(section)
             for one in rule(loc, part)]  # fmt: skip
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
        check = part.get("healthcheck")
        if part.get("image") or part.get("build"):
            told = (*loc, "image"), "an overlay may not change the image that is tested"
        elif isinstance(check, dict) and _true(check.get("disable")):
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


def _service(loc: Loc, part: dict[str, Any]) -> Found:
    yield from _privileges(loc, part)
    for i, network in enumerate(_items(part.get("networks"))):
        if network == "host":
            yield "host-network", (*loc, "networks", i), "the network of the host"
    for i, volume in enumerate(_items(part.get("volumes"))):
        yield from _mount((*loc, "volumes", i), volume)
    yield from _other_files(loc, part)


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


def _other_files(loc: Loc, part: dict[str, Any]) -> Found:
    for i, path in enumerate(_items(part.get("env_file"))):
        if _outside(path):
            yield "outside-file", (*loc, "env_file"), f"env_file {i + 1} is outside the recipe"
    if part.get("extends"):
        yield "other-files", (*loc, "extends"), "extends reads files that were not examined"
    if part.get("credential_spec"):
        yield "outside-file", (*loc, "credential_spec"), "credential_spec reads files of the host"


def _mount(loc: Loc, volume: object) -> Found:
    if isinstance(volume, dict):
        source = str(volume.get("source") or volume.get("src") or "")
        bind = volume.get("type") in ("bind", "npipe") or _is_path(source)
    else:
        source, colon, _ = str(volume).partition(":")
        bind = bool(colon) and _is_path(source)
    if source.rstrip("/").endswith(("docker.sock", "containerd.sock")):
        yield "docker-socket", loc, f"mounts {source}, which commands the host"
    elif bind:
        yield "bind-mount", loc, f"mounts {source or 'a path'} of the host"


def _volume(loc: Loc, part: dict[str, Any]) -> Found:
    options = part.get("driver_opts")
    if not isinstance(options, dict):
        return
    device, flags = str(options.get("device") or ""), str(options.get("o") or "")
    if _is_path(device):
        yield "bind-mount", (*loc, "driver_opts", "device"), f"mounts {device} of the host"
    elif "bind" in flags.replace(" ", "").split(","):
        yield "bind-mount", (*loc, "driver_opts", "o"), "mounts a path of the host"


def _network(loc: Loc, part: dict[str, Any]) -> Found:
    external = part.get("external")
    nested = external.get("name") if isinstance(external, dict) else None
    if "host" in (part.get("name"), nested, part.get("driver"), loc[-1] if external else None):
        yield "host-network", loc, "the network of the host"


def _from_file(loc: Loc, part: dict[str, Any]) -> Found:
    path = part.get("file")
    if path is not None and _outside(path):
        yield "outside-file", (*loc, "file"), f"{path} is outside the recipe"


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


def _outside(path: object) -> bool:
    text = str(path.get("path", "") if isinstance(path, dict) else path)
    return text.startswith(("/", "~")) or ".." in text.split("/")
