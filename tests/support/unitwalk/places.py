"""Files and directories of a machine: who makes each, and who may read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from unitwalk.units import Machine, Unit

DIRECTORIES = {
    "StateDirectory": "/var/lib",
    "RuntimeDirectory": "/run",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "ConfigurationDirectory": "/etc",
}
# There on every machine before the first service, for everybody.
GIVEN = (
    "/nix/store",
    "/dev",
    "/proc",
    "/sys",
    "/run/current-system",
    "/run/wrappers",
    "/run/systemd",
    "/run/dbus",
    "/run/lock",
    "/bin/sh",
    "/usr/bin/env",
    "/etc/ssl",
    "/etc/passwd",
    "/etc/group",
    "/etc/machine-id",
    "/etc/static",
    "/etc/nixos",
    "/tmp",
    "/var/tmp",
    "/run/log",
    "/var/log",
    "/nix/var",
)
PARENTS = (
    "/",
    "/etc",
    "/home",
    "/nix",
    "/root",
    "/run",
    "/var",
    "/var/cache",
    "/var/lib",
    "/run/user",
    "/srv",
    "/usr",
    "/bin",
    "/lib",
)


@dataclass(frozen=True)
class Place:
    """A path, by whom it is made (None: before any service), and for whom."""

    path: str
    unit: str | None = None
    mode: int = 0o755
    user: str = "root"
    group: str = "root"
    # Of a unit with a dynamic user: behind a directory that only root passes.
    private: bool = False


@dataclass(frozen=True)
class Identity:
    """Identity of a unit before the file system."""

    user: str
    groups: frozenset[str]
    all_powerful: bool


def identity(machine: Machine, unit: Unit) -> Identity:
    users = machine.facts["users"]
    user = unit.last("User") or (unit.stem if _is_dynamic(unit) else "root")
    known = users.get(user, {"group": user, "extraGroups": []})
    groups = {unit.last("Group") or known["group"], *known["extraGroups"]}
    groups |= set(unit.words("SupplementaryGroups"))
    limited = "CapabilityBoundingSet" in unit.settings
    dac = any(word.startswith("CAP_DAC") for word in unit.words("CapabilityBoundingSet"))
    negated = unit.last("CapabilityBoundingSet").startswith("~")
    return Identity(user, frozenset(groups), user == "root" and (not limited or dac or negated))


def places(machine: Machine) -> dict[str, list[Place]]:
    """Every known place, by its path."""
    found: dict[str, list[Place]] = {}
    for place in _all(machine):
        found.setdefault(place.path, []).append(place)
    return found


def ancestors(path: str) -> list[str]:
    """The path itself, then what it lies in, up to the root."""
    pure = PurePosixPath(path)
    return [str(pure), *(str(one) for one in pure.parents)]


def may(who: Identity, place: Place, bit: int) -> bool:
    """Return whether `who` has this right (4 to read, 1 to pass) at the place."""
    if who.all_powerful:
        return True
    if place.private:
        return who.user == place.user
    if who.user == place.user:
        return bool(place.mode & bit << 6)
    return bool(place.mode & (bit << 3 if place.group in who.groups else bit))


def _all(machine: Machine) -> Iterator[Place]:
    facts = machine.facts
    yield from (Place(one) for one in (*GIVEN, *PARENTS))
    yield Place("/root", mode=0o700)
    for rule in facts["tmpfiles"]:
        kind, path, *rest = rule.split()
        if kind[0] in "dDfFLCvqQpe":
            mode, user, group = (*rest, "-", "-", "-")[:3]
            yield Place(
                path.strip('"').rstrip("/"),
                None,
                int(mode.lstrip("~:"), 8) if mode.strip("~:0123456789") == "" else 0o755,
                "root" if user == "-" else user,
                "root" if group == "-" else group,
            )
    for user, one in facts["users"].items():
        if one["createHome"]:
            yield Place(one["home"], None, int(one["mode"], 8), user, one["group"])
    yield from (Place(f"/etc/{name}", mode=0o644) for name in facts["etc"])
    by = facts["secrets"]["by"]
    yield from (Place(path, by, 0o400) for path in facts["secrets"]["paths"])
    yield Place("/run/secrets", by, 0o751)
    for one in facts["composed"].values():
        yield Place(one["path"], "agency-issued.service", 0o400)
    for path in facts["issued"]:
        yield Place(path, "agency-reconcile-gitlab-bootstrap.service", 0o400)
    for unit in machine.units.values():
        yield from _of_unit(machine, unit)


def _of_unit(machine: Machine, unit: Unit) -> Iterator[Place]:
    who = identity(machine, unit)
    group = unit.last("Group") or machine.facts["users"].get(who.user, {}).get("group", who.user)
    for key, base in DIRECTORIES.items():
        mode = int(unit.last(f"{key}Mode", "0755"), 8)
        hidden = _is_dynamic(unit) and key in ("StateDirectory", "CacheDirectory", "LogsDirectory")
        for word in unit.words(key):
            path = f"{base}/{word.partition(':')[0]}"
            yield Place(path, unit.name, mode, who.user, group, private=hidden)
    for address in unit.all("ListenStream"):
        if address.startswith("/"):
            yield Place(
                address,
                unit.name,
                int(unit.last("SocketMode", "0666"), 8),
                unit.last("SocketUser", "root"),
                unit.last("SocketGroup", "root"),
            )


def _is_dynamic(unit: Unit) -> bool:
    return unit.last("DynamicUser") in ("true", "yes", "1")


def made_by_scripts(machine: Machine, path: str) -> list[str]:
    """Units in whose scripts the path is written out."""
    made = []
    for name, text in machine.facts["scripts"].items():
        words = (
            shlex.split(text, comments=True) if path in text and text.count("'") % 2 == 0 else ()
        )
        if path in words or (path in text and not words):
            made.append(name)
    return made
