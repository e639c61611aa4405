"""Parts of the export: apart from what every guest has, and joined only where asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from agency import cli
from agency.errors import BadInputError
from agency.guests.activation.commands import activate
from agency.guests.activation.definitions import known_parts, load_definitions, with_part
from agency.instance.load import load_instance
from agency.instance.render import write_rendered
from agency.secrets.delivery.install import InstallConfig
from agency.spinup.targets.incus.parts.edge.part import EdgePart

ROOT = Path(__file__).resolve().parents[3]
PORTABLE = ROOT / "modules/portable"
SECRETS = "etc/agency/secrets.json"
NGINX = "usr/lib/agency/nixos/nginx.conf"


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """The example, with the edge and Element."""
    directory = tmp_path / "instance"
    directory.mkdir()
    document = yaml.safe_load((ROOT / "instance/instance.yaml").read_text())
    EdgePart().adapt(document)
    (directory / "instance.yaml").write_text(yaml.safe_dump(document))
    write_rendered(load_instance(directory))
    return directory


def test_the_default_guest_has_nothing_of_any_part(instance: Path) -> None:
    """Not even where the instance has the edge: its guest has no certificate."""
    plain = load_definitions(PORTABLE, instance)
    for part in known_parts(PORTABLE):
        whole = load_definitions(PORTABLE, instance, (part,))
        own = whole.files.keys() - plain.files.keys()
        assert own
        assert {p: f for p, f in whole.files.items() if p not in own | {SECRETS}} == {
            p: f for p, f in plain.files.items() if p != SECRETS
        }
        assert whole.units[: len(plain.units)] == plain.units
    assert not any("nginx" in path for path in plain.files)
    assert "nginx.service" not in plain.units


def test_the_edge_is_filled_in_for_the_instance(instance: Path) -> None:
    edge = load_definitions(PORTABLE, instance, ("edge",))
    assert edge.units[-1] == "nginx.service"
    text = edge.files[NGINX].content.decode()
    assert "server_name matrix.agency.example" in text
    assert "{{" not in text
    config = json.loads(edge.files["usr/lib/agency/element/config.json"].content)
    server = config["default_server_config"]["m.homeserver"]
    assert server == {"base_url": "https://matrix.agency.example", "server_name": "agency.example"}
    page = edge.files["usr/lib/agency/element/index.html"].content.decode()
    assert "This is not Element" in page


def test_its_secrets_are_joined_to_the_others(instance: Path) -> None:
    def names(*parts: str) -> list[str]:
        file = load_definitions(PORTABLE, instance, parts).files[SECRETS]
        return [one.name for one in InstallConfig.model_validate_json(file.content).secrets]

    assert [*names(), "wildcard-certificate", "wildcard-certificate-key"] == names("edge")


def test_a_part_replaces_no_file() -> None:
    with pytest.raises(BadInputError, match="is there already") as raised:
        with_part({"etc/x/y": "1"}, {"etc/x/y": "1"}, "moon")
    assert raised.value.where == "etc/x/y"
    assert with_part({"etc/x/y": "1"}, {"etc/x/z": "2"}, "moon") == {"etc/x/y": "1", "etc/x/z": "2"}


def test_an_unknown_part_is_wrong_usage(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--portable", str(PORTABLE), "--instance", str(instance), "--with", "moon", "--json"]
    assert cli.run(activate, given, prog_name="activate") == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert "no part 'moon'" in error["message"]
    assert "edge" in error["hint"]
