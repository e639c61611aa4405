"""The page about secrets lists every secret, and is rendered from the catalogue."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agency.instance.model import Instance, Services
from agency.instance.needs import required_secrets
from agency.secrets.catalogue import load_catalogue

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/secrets.md"
EXAMPLE = ROOT / "secrets/example.sops.yaml"
GENERATOR = ROOT / "tools/docgen/catalogue.py"
MAX_CELL = 300
ON = {"enable": True}
ENGINES = ("builtin", "drone", "woodpecker", "gitea-actions")
PLACES = ("sftp:agency@backup.example.org:/srv", "s3:s3.example.org/backups")


def _names(engine: str, *, own_forge: bool) -> set[str]:
    """Names for each kind of place of backups together."""
    return set().union(*(_of(engine, place, own_forge=own_forge) for place in PLACES))


def _of(engine: str, place: str, *, own_forge: bool) -> set[str]:
    services = {field.alias or name: dict(ON) for name, field in Services.model_fields.items()}
    services["ci"] |= {"engine": engine}
    services["gitlab"] = {"enable": own_forge and engine != "gitea-actions"}
    instance = Instance.model_validate(
        {
            "version": 1,
            "name": "docs",
            "domain": "agency.example.org",
            "operators": ["@alice:agency.example.org"],
            "services": services,
            "agents": {"pm": {"role": "pm"}},
            "alerts": {
                "mail": {
                    "smarthost": "mail.example.org:587",
                    "from": "agency@example.org",
                    "to": ["ops@example.org"],
                    "username": "agency@example.org",
                },
                "webhook": True,
            },
            "models": {
                "providers": {"claude": {"kind": "anthropic", "url": "https://api.anthropic.com"}},
                "offered": {"large": {"provider": "claude", "price": {"input": 3, "output": 15}}},
            },
            "backup": {"repository": place},
            "secrets": {"provider": "sops", "recipients": {"host": "age1" + "q" * 58}},
        },
        strict=False,
    )
    needed = (spec.name for spec in required_secrets(instance))
    return {
        re.sub(rf"^{engine}-", "<engine>-", name)
        .replace("agent-pm-", "agent-<agent>-")
        .replace("model-claude-", "model-<provider>-")
        for name in needed
    }


def _told(heading: str) -> set[str]:
    """Return the names in the first column of the section's table."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z0-9<>-]+)` \|", section, re.M))


@pytest.mark.parametrize("heading", ["The secrets", "Rotation"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("own_forge", [True, False])
def test_page_lists_every_secret_that_an_instance_can_need(
    heading: str, engine: str, own_forge: bool
) -> None:
    assert _names(engine, own_forge=own_forge) - _told(heading) == set()


@pytest.mark.parametrize("heading", ["The secrets", "Rotation"])
def test_page_lists_no_unknown_secret(heading: str) -> None:
    """The page also lists the secrets of agents' features, which hosts turn on."""
    known = set().union(*(_names(one, own_forge=own) for one in ENGINES for own in (True, False)))
    told = _told(heading)
    assert {name for name in told - known if not name.startswith("agent-<agent>-")} == set()
    assert told == {re.sub(r"\{(\w+)\}", r"<\1>", name) for name in load_catalogue().secrets}


@pytest.fixture
def generator() -> Any:
    """Load tools/docgen/catalogue.py as a module."""
    spec = importlib.util.spec_from_file_location("docgen_catalogue", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_example_are_current(generator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("name", "original"), [("PAGE", PAGE), ("EXAMPLE", EXAMPLE)])
def test_stale_page_is_reported_and_written_again(
    generator: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    original: Path,
) -> None:
    copy = tmp_path / original.name
    copy.write_text(original.read_text().replace("k3s-token", "k3s-tokens"))
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, name, copy)
    assert generator.main(["--check"]) == 1
    assert f"{original.name} is stale" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert copy.read_text() == original.read_text()


def test_no_cell_is_long_and_none_looks_like_html() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(rows) > 70
    for row in rows:
        cells = row.strip("|").split("|")
        assert max(map(len, cells)) <= MAX_CELL, row
        assert "<" not in re.sub(r"`[^`]*`", "", row), row


def test_example_is_a_sops_configuration_with_invalid_keys() -> None:
    (rule,) = yaml.safe_load(EXAMPLE.read_text())["creation_rules"]
    assert re.search(rule["path_regex"], "secrets/secrets.yaml")
    assert not re.search(rule["path_regex"], "secrets/README.md")
    recipients = rule["key_groups"][0]["age"]
    assert len(recipients) == 2
    assert all(re.fullmatch(r"age1(.)\1{57}", one) for one in recipients)
