"""The page about secrets knows every secret that there can be. Needs no Nix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agency.instance.model import Instance, Services
from agency.instance.required_secrets import required_secrets

ROOT = Path(__file__).resolve().parents[2]
ON = {"enable": True}


def _names(engine: str, *, own_forge: bool) -> set[str]:
    services = {field.alias or name: dict(ON) for name, field in Services.model_fields.items()}
    services["ci"] |= {"engine": engine}
    services["gitlab"] = {"enable": own_forge}
    instance = Instance.model_validate(
        {
            "version": 1,
            "name": "docs",
            "domain": "agency.example.org",
            "operators": ["@alice:agency.example.org"],
            "services": services,
            "agents": {"pm": {"role": "pm"}},
            "secrets": {"provider": "ephemeral"},
        },
        strict=False,
    )
    return {spec.name.replace("agent-pm-", "agent-<name>-") for spec in required_secrets(instance)}


@pytest.mark.parametrize("engine", ["builtin", "drone", "woodpecker"])
@pytest.mark.parametrize("own_forge", [True, False])
def test_the_rotation_of_every_secret_is_told(engine: str, own_forge: bool) -> None:
    table = (
        (ROOT / "docs/secrets.md").read_text().split("## Rotation")[1].split("## The one key")[0]
    )
    told = set(re.findall(r"`([a-z0-9<>-]+)`", " ".join(re.findall(r"^\|([^|]*)\|", table, re.M))))
    assert _names(engine, own_forge=own_forge) - told == set()


def test_no_secret_is_told_that_there_is_not() -> None:
    table = (
        (ROOT / "docs/secrets.md").read_text().split("## Rotation")[1].split("## The one key")[0]
    )
    told = set(re.findall(r"`([a-z0-9<>-]+)`", " ".join(re.findall(r"^\|([^|]*)\|", table, re.M))))
    engines = ("builtin", "drone", "woodpecker")
    known = set().union(*(_names(one, own_forge=own) for one in engines for own in (True, False)))
    assert told - known == set()
