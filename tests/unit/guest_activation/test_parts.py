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
from agency.guests.activation.joining import join_parts
from agency.instance.load import load_instance
from agency.instance.render import write_rendered
from agency.secrets.delivery.install import InstallConfig
from agency.spinup.targets.incus.parts.edge.part import EdgePart
from agency.spinup.targets.incus.parts.recipes import RecipesPart

ROOT = Path(__file__).resolve().parents[3]
PORTABLE = ROOT / "modules/portable"
SECRETS = "etc/agency/secrets.json"
CONTROL = "etc/agency/control.json"
HOMESERVER = "usr/lib/agency/nixos/homeserver.yaml"
NGINX = "usr/lib/agency/nixos/nginx.conf"


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """The example, with the edge and Element, and all of recipe CI."""
    directory = tmp_path / "instance"
    directory.mkdir()
    document = yaml.safe_load((ROOT / "instance/instance.yaml").read_text())
    EdgePart().adapt(document)
    RecipesPart().adapt(document)
    (directory / "instance.yaml").write_text(yaml.safe_dump(document))
    write_rendered(load_instance(directory))
    return directory


def joined(part: str) -> set[str]:
    """The documents that every guest has, and to which a part adds."""
    place = PORTABLE / "parts" / part / "joined"
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def test_the_default_guest_has_nothing_of_any_part(instance: Path) -> None:
    """Not even where the instance has the edge: its guest has no certificate."""
    plain = load_definitions(PORTABLE, instance)
    for part in known_parts(PORTABLE):
        whole = load_definitions(PORTABLE, instance, (part,))
        own = whole.files.keys() - plain.files.keys()
        assert own
        documents = joined(part)
        assert SECRETS in documents
        assert {p: f for p, f in whole.files.items() if p not in own | documents} == {
            p: f for p, f in plain.files.items() if p not in documents
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


def test_a_secret_of_two_parts_is_there_once(instance: Path) -> None:
    file = load_definitions(PORTABLE, instance, ("edge", "recipes")).files[SECRETS]
    names = [one.name for one in InstallConfig.model_validate_json(file.content).secrets]
    assert names.count("wildcard-certificate") == 1
    assert "forge-bot-token" in names


def test_recipe_ci_is_filled_in_for_the_instance(instance: Path) -> None:
    given = yaml.safe_load((instance / "instance.yaml").read_text())
    given["recipes"] = {"static-site": {"repository": "recipes/static-site"}}
    (instance / "instance.yaml").write_text(yaml.safe_dump(given))
    write_rendered(load_instance(instance))
    files = load_definitions(PORTABLE, instance, ("recipes",)).files
    config = json.loads(files["etc/agency/recipes.json"].content)
    assert config["recipes"] == {"static-site": {"repository": "recipes/static-site"}}
    traefik = json.loads(files["etc/agency/reconcile/traefik.json"].content)
    assert traefik["domain"] == "traefik.agency.example"
    assert b"DOMAIN=traefik.agency.example" in files[traefik["envFile"].lstrip("/")].content


def test_a_part_replaces_no_file() -> None:
    with pytest.raises(BadInputError, match="is there already") as raised:
        with_part({"etc/x/y": "1"}, {"etc/x/y": "1"}, "moon")
    assert raised.value.where == "etc/x/y"
    assert with_part({"etc/x/y": "1"}, {"etc/x/z": "2"}, "moon") == {"etc/x/y": "1", "etc/x/z": "2"}


def test_alerts_add_to_what_every_guest_has(instance: Path) -> None:
    """To two documents, one unit and the firewall: nothing that was there is gone."""
    plain = load_definitions(PORTABLE, instance).files
    whole = load_definitions(PORTABLE, instance, ("alerts",)).files
    before, after = (json.loads(files[CONTROL].content) for files in (plain, whole))
    assert after == before | {"alerts": True}
    before, after = (json.loads(files[HOMESERVER].content) for files in (plain, whole))
    assert after["listeners"][:-1] == before["listeners"]
    assert after["listeners"][-1]["type"] == "metrics"
    assert (before["enable_metrics"], after["enable_metrics"]) == (False, True)
    drop_in = whole["etc/systemd/system/agency-control.service.d/60-alerts.conf"].content.decode()
    assert drop_in.splitlines() == [
        "[Service]",
        "LoadCredential=alertmanager-token:/run/secrets/alertmanager-token",
    ]
    unit = "etc/systemd/system/agency-control.service"
    assert whole[unit] == plain[unit]
    lines = whole["etc/nftables.d/agency-agents.d/part.alerts.nft"].content.decode().splitlines()
    assert all(line.startswith("add element inet agency-agents ") for line in lines)
    assert "add element inet agency-agents closed_ports { 8027 }" in lines


@pytest.mark.parametrize(
    ("document", "more", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ({"a": {"b": False}}, {"a": {"b": True}}, {"a": {"b": True}}),
    ],
    ids=["key", "list", "value"],
)
def test_a_document_is_joined(document: object, more: object, result: object) -> None:
    parts = {"moon": {"etc/x.json": json.dumps(more)}}
    texts = join_parts({"etc/x.json": json.dumps(document), "etc/y": "kept"}, parts)
    assert json.loads(texts["etc/x.json"]) == result
    assert texts["etc/y"] == "kept"


@pytest.mark.parametrize(
    ("documents", "said", "where"),
    [
        (({"a": 1}, {"a": 2}), "different things", "etc/x.json: a"),
        (({"a": {"b": 1}}, {"a": {"b": 2}}), "different things", "etc/x.json: a: b"),
        (({"a": [1]}, {"a": {}}), "different things", "etc/x.json: a"),
        (({"c": [1]}, {}), "different things", "etc/x.json: c"),
    ],
    ids=["value", "deeper", "kind", "kind of the machine's"],
)
def test_parts_that_contradict_are_refused(
    documents: tuple[object, ...], said: str, where: str
) -> None:
    texts = {"etc/x.json": json.dumps({"c": "text"})}
    parts = {name: {"etc/x.json": json.dumps(d)} for name, d in zip("mn", documents, strict=True)}
    with pytest.raises(BadInputError, match=said) as raised:
        join_parts(texts, parts)
    assert raised.value.where == where
    # The control: twice the same is no contradiction.
    same = {name: {"etc/x.json": json.dumps({"a": 1})} for name in "mn"}
    assert json.loads(join_parts(texts, same)["etc/x.json"]) == {"c": "text", "a": 1}


def test_a_document_that_is_not_there_cannot_be_joined() -> None:
    with pytest.raises(BadInputError, match="part moon: is not there") as raised:
        join_parts({}, {"moon": {"etc/x.json": "{}"}})
    assert raised.value.where == "etc/x.json"


def test_an_unknown_part_is_wrong_usage(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--portable", str(PORTABLE), "--instance", str(instance), "--with", "moon", "--json"]
    assert cli.run(activate, given, prog_name="activate") == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert "no part 'moon'" in error["message"]
    assert "edge" in error["hint"]
