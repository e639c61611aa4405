"""Settings of a running control plane: those kept in its store, and where each other one stands.

config set ──▶ KeptSettings ──▶ table `meta` ──▶ the same after a restart
                    └──▶ apply: in force at once
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from agency.commandline import set_log_level
from agency.control.config import ControlConfig
from agency.control.execution.result import RefusalError
from agency.control.grammar.suggest import closest
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.store import Database, parse_url

_LEVELS = ("debug", "info", "warning", "error")
_LEAST_RATE, _MOST_RATE = 10, 60_000

# Where what stands in control.json comes from; what is not named here is the program's own.
_PLACES: Mapping[str, str] = {
    "instance": "`name` in instance.yaml",
    "domain": "`domain` in instance.yaml",
    "bot_id": "`domain` in instance.yaml",
    "control_room_alias": "`domain` in instance.yaml",
    "operators": "`operators` in instance.yaml",
    "approvers": "`approvers` in instance.yaml",
    "viewers": "`viewers` in instance.yaml",
    "approvals": "`approvals` in instance.yaml",
    "agents": "`agents` in instance.yaml",
    "database_url": "the option `agency.control.database` of the host",
    "alerts": "the option `agency.control.alerts` of the host",
    "api": "the option `agency.control.api` of the host",
}
_ELSEWHERE = "the key {key} of control.json, which `agency render` writes anew"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting kept in the store: how its text is read, and the function that puts it in force."""

    name: str
    summary: str
    usual: str
    read: Callable[[str], str]
    apply: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as people see it."""

    key: str
    value: str
    place: str


@dataclass(slots=True)
class KeptSettings:
    """The settings of one control plane."""

    database: Database
    config: ControlConfig
    rate_changed: Callable[[int], None]  # requests a minute that a token of the API has
    _kept: dict[str, str] = field(default_factory=dict)
    _known: dict[str, Setting] = field(init=False)

    def __post_init__(self) -> None:
        rate = self.config.api.requests_per_minute if self.config.api is not None else 0
        made = (
            Setting(
                "log-level",
                "the least that is logged",
                self.config.log_level,
                _level,
                set_log_level,
            ),
            Setting(
                "api-rate",
                "requests a minute of each token of the HTTP interface",
                str(rate),
                _rate,
                lambda text: self.rate_changed(int(text)),
            ),
        )
        self._known = {each.name: each for each in made}

    async def restore(self) -> None:
        """Put what is on record into force; what this version does not know stays there."""
        told = await self.database.read(lambda c: facts.read(c, Fact.SETTINGS))
        self._kept = dict(json.loads(told)) if told else {}
        for name, value in self._kept.items():
            if name in self._known:
                self._known[name].apply(self._known[name].read(value))

    def shown(self) -> tuple[Shown, ...]:
        """Return every setting: those of the store, then those of the configuration."""
        mine = tuple(
            Shown(name, self._kept.get(name, each.usual), "the store: `config set` changes it")
            for name, each in self._known.items()
        )
        return (*mine, *_of_file(self.config))

    def find(self, key: str) -> Shown:
        """Return one setting.

        Raises:
            RefusalError: there is none of that name.
        """
        found = {each.key: each for each in self.shown()}
        if key in found:
            return found[key]
        near = closest(key, found)
        hint = f"did you mean {near}?" if near else "`config get` shows all of them"
        raise RefusalError(f"there is no setting {key}", hint=hint)

    async def set(self, key: str, text: str) -> tuple[str, str]:
        """Change a setting of the store at once, and after a restart; return before and after.

        Raises:
            RefusalError: it is not kept in the store, or the value does not fit.
        """
        before = self.find(key)
        setting = self._known.get(key)
        if setting is None:
            raise RefusalError(
                f"{key} is not kept in the store, but is {before.place}",
                hint="change it there, and bring it to the host: `agency render`, then a switch",
            )
        value = setting.read(text)
        kept = {**self._kept, key: value}
        await self.database.write(lambda c: facts.keep(c, Fact.SETTINGS, json.dumps(kept)))
        self._kept = kept
        setting.apply(value)
        return before.value, value


def _of_file(config: ControlConfig) -> Iterator[Shown]:
    """List what the configuration says; of an URL without its password."""
    told = config.model_dump(mode="json")
    told["database_url"] = parse_url(config.database_url).render_as_string(hide_password=True)
    for top, value in told.items():
        parts = value.items() if isinstance(value, dict) and value else [("", value)]
        for name, one in parts:
            key = f"{top}.{name}" if name else top
            text = one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
            yield Shown(key, text, _PLACES.get(top, _ELSEWHERE.format(key=key)))


def _level(text: str) -> str:
    if text not in _LEVELS:
        raise RefusalError(f"log-level is one of: {', '.join(_LEVELS)}")
    return text


def _rate(text: str) -> str:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not _LEAST_RATE <= number <= _MOST_RATE:
        raise RefusalError(f"api-rate is a number from {_LEAST_RATE} to {_MOST_RATE}")
    return str(number)
