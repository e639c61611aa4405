"""What is laid down: templates filled in, paths mapped, everything else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import naming
from agency.errors import BadInputError, PrerequisiteError
from agency.guests.activation.definitions import (
    ENCRYPTED_FILE,
    agent_path,
    filled,
    load_definitions,
    wanted_file,
)
from agency.instance.documents import instance_document
from agency.instance.load import load_instance
from agency.instance.render import rendered_files
from agency.secrets.delivery.install import InstallConfig

ROOT = Path(__file__).resolve().parents[3]
PORTABLE = ROOT / "modules/portable"
INSTANCE = """\
version: 1
name: other
domain: other.example.net
operators: ["@bob:other.example.net"]
agents:
  dev-two: {role: developer}
  pm: {role: pm}
secrets: {provider: ephemeral}
"""
AGENT = {"name": "dev-two", "role": "developer", "uid": 4002, "port": 20002}
EMPTY: dict[str, dict[str, str]] = {"machine": {}, "instance": {}, "agent": {}}


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    directory = tmp_path / "instance"
    directory.mkdir()
    (directory / "instance.yaml").write_text(INSTANCE)
    loaded = load_instance(directory)
    for path, data in rendered_files(loaded).items():
        target = directory / "generated" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return directory


def test_the_exported_definitions_fit_any_instance(instance: Path) -> None:
    definitions = load_definitions(PORTABLE, instance)
    assert definitions.agents == ("dev-two", "pm")
    assert "matrix-synapse.service" in definitions.units
    homeserver = json.loads(definitions.files["usr/lib/agency/nixos/homeserver.yaml"].content)
    assert homeserver["server_name"] == "other.example.net"
    control = json.loads(definitions.files["etc/agency/control.json"].content)
    assert control["operators"] == ["@bob:other.example.net"]
    slice_ = definitions.files["etc/systemd/system/agency-agents-dev_two.slice"].content
    assert b"Description=Agent dev-two" in slice_
    text = "\n".join(file.content.decode() for file in definitions.files.values())
    # Synapse's own templates, over who logs in, are left for it.
    assert "{{" not in text.replace("{{ user.", "")
    assert '"{{ user.nickname }}\\"' in text
    assert "AGENT" not in "".join(definitions.files)
    assert "agency.example" not in text


def test_the_secrets_that_are_told_can_be_installed(instance: Path) -> None:
    file = load_definitions(PORTABLE, instance).files["etc/agency/secrets.json"]
    config = InstallConfig.model_validate_json(file.content)
    assert config.provider == "ephemeral"
    assert all(secret.generator is not None for secret in config.secrets)
    (template,) = config.templates
    assert r"other\\.example" in template.content
    for name in ("matrix-as-token", "matrix-hs-token"):
        assert f"@{name}@" in template.content


def test_an_ephemeral_instance_needs_no_key(instance: Path) -> None:
    definitions = load_definitions(PORTABLE, instance)
    assert not definitions.needs_age_key
    assert ENCRYPTED_FILE not in definitions.files


def test_a_stale_instance_is_refused(instance: Path) -> None:
    file = instance / "instance.yaml"
    file.write_text(file.read_text().replace("role: pm", "role: tester"))
    with pytest.raises(BadInputError, match=r"instance\.json is changed"):
        load_definitions(PORTABLE, instance)


def test_a_missing_export_is_said(instance: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such directory"):
        load_definitions(tmp_path / "nowhere", instance)


def test_a_unit_that_is_none_is_refused(instance: Path, tmp_path: Path) -> None:
    for kind in EMPTY:
        (tmp_path / "portable" / kind).mkdir(parents=True)
    (tmp_path / "portable/start.json").write_text('{"units": ["../x.service"]}')
    with pytest.raises(BadInputError, match="not the name of a unit"):
        load_definitions(tmp_path / "portable", instance)


def test_an_agent_fills_its_templates() -> None:
    templates = EMPTY | {
        "agent": {"etc/x/AGENT.json": "{{ agent.uid }} {{ agent.name | replace('-', '_') }}"}
    }
    texts = filled(templates, {"agentsResolved": [AGENT]}, {})
    assert texts == {"etc/x/dev-two.json": "4002 dev_two"}


def test_a_template_that_names_what_is_not_there_is_refused() -> None:
    templates = EMPTY | {"instance": {"etc/x/y": "{{ instance.never }}"}}
    with pytest.raises(BadInputError, match="never") as raised:
        filled(templates, {"agentsResolved": []}, {})
    assert raised.value.where == "etc/x/y"


@pytest.mark.parametrize(
    "path", ["../etc/shadow", "etc/../root/x", "root/x", "etc", "/etc/x", "etc//x", "etc/./x"]
)
def test_no_file_leads_elsewhere(path: str) -> None:
    with pytest.raises(BadInputError, match="may only go below"):
        filled(EMPTY | {"machine": {path: ""}}, {"agentsResolved": []}, {})


@given(st.text(max_size=30))
def test_an_agents_path_stays_where_it_is(name: str) -> None:
    if naming.is_agent_name(name):
        path = agent_path("etc/systemd/system/agency-agents-AGENT_.slice", name)
        assert path.count("/") == 3
        assert agent_path("etc/AGENT/AGENT_", name) == f"etc/{name}/{name.replace('-', '_')}"
    else:
        with pytest.raises(BadInputError):
            agent_path("etc/AGENT", name)


def test_a_script_can_be_run_and_nothing_else_can() -> None:
    assert wanted_file("usr/lib/x/y", "#!/usr/bin/bash\n").mode == 0o755
    assert wanted_file("usr/lib/x/y", "text").mode == 0o644


def test_the_facts_hold_what_templates_ask_for(instance: Path) -> None:
    loaded = load_instance(instance)
    facts: dict[str, Any] = instance_document(loaded.instance, loaded.digest)
    assert {"name", "role", "uid", "port"} <= set(facts["agentsResolved"][0])
