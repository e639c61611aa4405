"""Units as systemd reads them: settings by key, instances laid over their templates."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Words before a program or a path that change how it is run or whether it may lack.
EXEC_PREFIX = re.compile(r"^[-@:+!|]*")
EARLY = ("sysinit.target", "local-fs.target", "systemd-tmpfiles-setup.service")
PULLS = ("Wants", "Requires", "BindsTo", "Requisite", "Upholds")


@dataclass(frozen=True)
class Unit:
    """One unit: every value of every key, in order; an empty value forgets those before it."""

    name: str
    settings: Mapping[str, list[str]]
    wanted_by: frozenset[str] = frozenset()

    def all(self, *keys: str) -> list[str]:
        return [value for key in keys for value in self.settings.get(key, [])]

    def words(self, *keys: str) -> list[str]:
        return [word for value in self.all(*keys) for word in shlex.split(value)]

    def last(self, key: str, default: str = "") -> str:
        return (self.settings.get(key) or [default])[-1]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Machine:
    """The facts of facts.nix, with units read."""

    units: Mapping[str, Unit]
    facts: Mapping[str, Any]
    memo: dict[str, frozenset[str]] = field(default_factory=dict)

    def pulled_by(self, name: str) -> frozenset[str]:
        """Every unit that starts whenever `name` does."""
        return self._closure("pull", name, self._pulls)

    def before(self, name: str) -> frozenset[str]:
        """Every unit that is waited for if it starts with `name`."""
        return self._closure("before", name, self._waits_for)

    def reached(self) -> list[Unit]:
        """Services that the machine starts: at boot, by a socket, by a timer, or by another."""
        roots = ("sysinit.target", "multi-user.target", "sockets.target", "timers.target")
        names: set[str] = set()
        for root in roots:
            names |= self.pulled_by(root)
        return [
            self.units[name]
            for name in sorted(names)
            if name.endswith(".service") and name in self.units
        ]

    def _closure(self, kind: str, name: str, step: Any) -> frozenset[str]:
        key = f"{kind} {name}"
        if key not in self.memo:
            found: set[str] = set()
            ahead = [name]
            while ahead:
                for other in step(ahead.pop()):
                    if other not in found:
                        found.add(other)
                        ahead.append(other)
            self.memo[key] = frozenset(found)
        return self.memo[key]

    def _pulls(self, name: str) -> set[str]:
        unit = self.units.get(name)
        pulled = {one.name for one in self.units.values() if name in one.wanted_by}
        if unit is None:
            return pulled
        pulled |= set(unit.words(*PULLS))
        stem, _, kind = name.rpartition(".")
        if kind in ("socket", "timer"):
            pulled.add(unit.last("Service") or unit.last("Unit") or f"{stem}.service")
        pulled |= set(unit.words("OnSuccess", "OnFailure"))
        return pulled

    def _waits_for(self, name: str) -> set[str]:
        unit = self.units.get(name)
        waits = {one.name for one in self.units.values() if name in one.words("Before")}
        if unit is None:
            return waits
        waits |= set(unit.words("After"))
        if unit.last("DefaultDependencies") not in ("false", "no"):
            waits |= set(EARLY)
            # systemd orders a target after whatever it pulls in.
            waits |= self._pulls(name) if name.endswith(".target") else set()
        if f"{unit.stem}.socket" in self.units:
            waits.add(f"{unit.stem}.socket")
        return waits


def machine(facts: Mapping[str, Any]) -> Machine:
    """Read the facts that facts.nix gave for one host."""
    texts = facts["units"]
    units = {}
    for name, one in texts.items():
        wanted_by = frozenset(one["wantedBy"]) | frozenset(one["requiredBy"])
        template, instance = _template(name)
        text = (texts[template]["text"] if template in texts else "") + one["text"]
        units[name] = Unit(name, _settings(text, instance), wanted_by)
    for name in list(_wanted_instances(units)):
        template, instance = _template(name)
        if name not in units and template in texts:
            units[name] = Unit(name, _settings(texts[template]["text"], instance))
    return Machine(units, facts)


def _template(name: str) -> tuple[str, str]:
    """The template of an instance and what %i is there; nothing for any other unit."""
    stem, dot, kind = name.rpartition(".")
    before, at, instance = stem.partition("@")
    return (f"{before}@{dot}{kind}", instance) if at and instance else ("", "")


def _wanted_instances(units: Mapping[str, Unit]) -> Iterator[str]:
    for unit in units.values():
        yield from (one for one in unit.words(*PULLS) if "@" in one)


def _settings(text: str, instance: str) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = defaultdict(list)
    for line in text.replace("\\\n", " ").splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith(("#", "[", ";")):
            continue
        if not value:
            settings[key] = []
            settings[f"{key} is reset"] = ["yes"]
            continue
        settings[key].append(_expanded(value, instance))
    return dict(settings)


def _expanded(value: str, instance: str) -> str:
    table = {
        "%i": instance,
        "%I": instance,
        "%S": "/var/lib",
        "%t": "/run",
        "%C": "/var/cache",
        "%L": "/var/log",
        "%%": "%",
    }
    return re.sub("%[iIStCL%]", lambda found: table[found[0]], value)
