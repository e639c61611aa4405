"""Rendering: the same bytes every time, no secrets, and valid for its readers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from agency import naming
from agency.control.config import ControlConfig
from agency.instance import jinja
from agency.instance.load import LoadedInstance, load_instance
from agency.instance.model import Agent, Instance, OptionalRooms, Services
from agency.instance.render import check_rendered, registration, rendered_files, write_rendered

Write = Callable[[str], Path]

EVERYTHING = """\
version: 1
name: all
domain: agency.example
operators: ["@alice:agency.example"]
services:
  matrix: {enable: true, federation: true}
  element: {enable: true}
  edge: {enable: true}
  gitlab: {enable: true}
  k3s: {enable: true}
  swarm: {enable: true}
  traefik: {enable: true}
  ci: {enable: true, engine: drone, maxTests: 3}
  bridge: {enable: true}
  dashboard: {enable: true}
  observability: {enable: true}
agents:
  pm: {role: pm}
recipes:
  hedgedoc: {repository: recipes/hedgedoc}
secrets: {provider: ephemeral}
"""

AGENT_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    agents = draw(st.dictionaries(AGENT_NAMES, st.booleans(), max_size=6))
    chosen = draw(st.sets(st.sampled_from(sorted(Services.model_fields))))
    ports = [naming.agent_port(name) for name in agents]
    uids = [naming.agent_uid(name) for name in agents]
    # Names that clash by chance are refused, which is another test's subject.
    assume(len(set(ports)) == len(set(uids)) == len(agents))
    return Instance.model_validate(
        {
            "version": 1,
            "name": "x",
            "domain": "agency.example",
            "operators": ["@alice:agency.example"],
            "services": {name: {"enable": True} for name in chosen},
            "agents": {name: {"role": "dev", "enable": on} for name, on in agents.items()},
            "secrets": {"provider": "ephemeral"},
        }
    )


def loaded_of(instance: Instance) -> LoadedInstance:
    return LoadedInstance(instance, Path("instance.yaml"), Path(), "0" * 64)


@given(instances())
def test_rendering_is_deterministic(instance: Instance) -> None:
    again = Instance.model_validate(json.loads(instance.model_dump_json(by_alias=True)))
    assert rendered_files(loaded_of(instance)) == rendered_files(loaded_of(again))


@given(instances(), AGENT_NAMES)
def test_an_agents_numbers_never_depend_on_other_agents(instance: Instance, name: str) -> None:
    alone = instance.model_copy(update={"agents": {name: Agent(role="dev")}})
    together = instance.model_copy(update={"agents": {**instance.agents, name: Agent(role="dev")}})
    (expected,) = alone.resolved_agents()
    assert expected in list(together.resolved_agents())
    others = [agent for agent in together.resolved_agents() if agent.name != name]
    assert others == [agent for agent in instance.resolved_agents() if agent.name != name]


def test_rendering_does_not_depend_on_the_process(write: Write) -> None:
    root = write(EVERYTHING)
    code = (
        "import hashlib, sys; from pathlib import Path;"
        "from agency.instance.load import load_instance;"
        "from agency.instance.render import rendered_files;"
        "files = rendered_files(load_instance(Path(sys.argv[1])));"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(root)],
            env={"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed, locale, zone in (("1", "C", "UTC"), ("2", "C.UTF-8", "Asia/Tokyo"))
    }
    assert len(digests) == 1


def test_enabled_services_decide_the_rendered_files(write: Write, loaded: LoadedInstance) -> None:
    assert set(rendered_files(loaded)) == {
        "instance.json",
        "instance.schema.json",
        "control.json",
        "matrix/element-config.json",
        "matrix/registration.yaml",
    }
    assert set(rendered_files(load_instance(write(EVERYTHING)))) == {
        "instance.json",
        "instance.schema.json",
        "control.json",
        "matrix/element-config.json",
        "matrix/registration.yaml",
        "gitlab/gitlab-ci.yml",
        "drone/drone.yml",
        "drone/server.env",
        "abra/traefik.env",
        "abra/recipes/hedgedoc.env",
    }


@pytest.mark.parametrize("recipe", ["hedgedoc", "gitlab", "matrix", "registry"])
def test_a_recipe_lies_where_traefik_routes_and_is_no_service(write: Write, recipe: str) -> None:
    """As docs/install.md, the certificate and modules/traefik.nix say: *.ci.<domain>."""
    loaded = load_instance(write(EVERYTHING.replace("hedgedoc: {", f"{recipe}: {{")))
    env = rendered_files(loaded)[f"abra/recipes/{recipe}.env"].decode()
    assert f"DOMAIN={recipe}.ci.agency.example\n" in env
    names = json.loads(rendered_files(loaded)["instance.json"])["names"]["hosts"]
    assert f"{recipe}.ci.agency.example" not in names.values()
    nix = (Path(__file__).parents[3] / "modules" / "traefik.nix").read_text()
    assert '"*.ci.${agency.domain}"' in nix


def test_every_document_parses(write: Write) -> None:
    for path, content in rendered_files(load_instance(write(EVERYTHING))).items():
        if path.endswith(".json"):
            json.loads(content)
        elif path.endswith((".yml", ".yaml")):
            assert isinstance(yaml.safe_load(content), dict)
        else:
            lines = [line for line in content.decode().splitlines() if line[:1] != "#"]
            assert all(re.fullmatch(r"[A-Z_]+=\S*", line) for line in lines), path
        assert content.endswith(b"\n")
        assert b"\n\n\n" not in content


class TestInstanceJson:
    """The document for Nix."""

    def document(self, loaded: LoadedInstance) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(rendered_files(loaded)["instance.json"])
        return document

    def test_document_holds_the_source_digest(self, loaded: LoadedInstance) -> None:
        assert self.document(loaded)["sourceDigest"] == loaded.digest

    def test_agents_have_all_their_numbers(self, loaded: LoadedInstance) -> None:
        document = self.document(loaded)
        assert [agent["name"] for agent in document["agentsResolved"]] == ["developer", "pm"]
        for agent in document["agentsResolved"]:
            assert document["agents"][agent["name"]]["uid"] == agent["uid"]
            assert document["agents"][agent["name"]]["port"] == agent["port"]
            assert agent["matrixId"] == f"@{agent['user']}:agency.example"

    def test_services_keep_their_names(self, loaded: LoadedInstance) -> None:
        services = self.document(loaded)["services"]
        assert services["k3s"] == {"enable": False}
        assert services["ci"] == {"enable": False, "engine": "builtin", "maxTests": 2}

    def test_secrets_list_owner_and_readers(self, loaded: LoadedInstance) -> None:
        secrets = {secret["name"]: secret for secret in self.document(loaded)["secretsRequired"]}
        assert secrets["matrix-hs-token"] == {
            "name": "matrix-hs-token",
            "class": "A2",
            "owner": "root",
            "mode": "0400",
            "consumers": ["matrix-synapse.service", "agency-control.service"],
            "optional": False,
            "stored": True,
            "generator": "token",
        }
        assert secrets["operator-password"]["stored"] is False


def test_control_plane_accepts_its_rendered_configuration(loaded: LoadedInstance) -> None:
    config = ControlConfig.model_validate_json(rendered_files(loaded)["control.json"])
    assert config.operators == ("@alice:agency.example",)
    assert config.bot_id == "@agency:agency.example"
    assert config.control_room_alias == "#control:agency.example"
    assert [agent.name for agent in config.agents] == ["developer", "pm"]
    assert config.runtime == "systemd"


def test_the_runtime_of_each_agent_reaches_the_control_plane(write: Write, good: str) -> None:
    """With every limit: a name that differs between the two models would be refused."""
    image_id = "sha256:" + "a" * 64
    docker = (
        f"docker: {{image: agency-agent:0.1.0, imageId: {image_id}, memoryMib: 512, cpus: 2, "
        "pids: 99, tmpMib: 8}"
    )
    text = good.replace("    role: pm", "    role: pm\n    runtime: docker") + docker + "\n"
    loaded = load_instance(write(text))
    config = ControlConfig.model_validate_json(rendered_files(loaded)["control.json"])
    assert {agent.name: agent.runtime for agent in config.agents} == {
        "developer": None,
        "pm": "docker",
    }
    assert config.runtime == "systemd"
    assert config.docker is not None
    assert config.docker.model_dump(exclude={"url"}) == {
        "image": "agency-agent:0.1.0",
        "image_id": image_id,
        "memory_mib": 512,
        "cpus": 2.0,
        "pids": 99,
        "tmp_mib": 8,
    }
    resolved = json.loads(rendered_files(loaded)["instance.json"])["agentsResolved"]
    assert {each["name"]: each["runtime"] for each in resolved} == {
        "developer": "systemd",
        "pm": "docker",
    }


class TestRegistration:
    """The appservice's registration and its namespaces."""

    def claims(self, instance: Instance) -> dict[str, Any]:
        content = registration(
            instance, url='http://x/"\n: #', as_token="a: b", hs_token="'{{ c }}"
        )
        parsed: dict[str, Any] = yaml.safe_load(content)
        return parsed

    def test_values_cannot_leave_their_quotes(self, loaded: LoadedInstance) -> None:
        claims = self.claims(loaded.instance)
        assert claims["url"] == 'http://x/"\n: #'
        assert (claims["as_token"], claims["hs_token"]) == ("a: b", "'{{ c }}")

    @pytest.mark.parametrize(
        ("user", "claimed"),
        [
            ("@agent-pm:agency.example", True),
            ("@agent-a-b-2:agency.example", True),
            ("@agency:agency.example", True),
            ("@agent:agency.example", False),
            ("@alice:agency.example", False),
            ("@agencyx:agency.example", False),
            ("@agent-pm:agencyXexample", False),
            ("@agent-pm:agency.example.org", False),
            ("@agency:agency.example.org", False),
        ],
    )
    def test_users(self, loaded: LoadedInstance, user: str, claimed: bool) -> None:
        users = self.claims(loaded.instance)["namespaces"]["users"]
        assert all(entry["exclusive"] is True for entry in users)
        # As Synapse does it.
        assert any(re.match(entry["regex"], user) for entry in users) is claimed

    def test_other_claims_of_the_registration(self, loaded: LoadedInstance) -> None:
        claims = self.claims(loaded.instance)
        assert claims["rate_limited"] is False
        assert claims["sender_localpart"] == "agency"
        (alias,) = claims["namespaces"]["aliases"]
        assert alias["exclusive"] is True
        assert re.match(alias["regex"], "#control:agency.example")
        assert not re.match(alias["regex"], "#controlx:agency.example")

    @pytest.mark.parametrize(("approvals", "audit"), [(True, True), (True, False), (False, True)])
    def test_aliases_of_the_rooms_that_there_are(
        self, loaded: LoadedInstance, approvals: bool, audit: bool
    ) -> None:
        rooms = OptionalRooms(approvals=approvals, audit=audit)
        claims = self.claims(loaded.instance.model_copy(update={"rooms": rooms}))
        (alias,) = claims["namespaces"]["aliases"]
        found = {
            name: bool(re.match(alias["regex"], f"#{name}:agency.example"))
            for name in ("control", "approvals", "audit", "auditx", "xaudit")
        }
        wanted = {"control": True, "approvals": approvals, "audit": audit}
        assert found == {**wanted, "auditx": False, "xaudit": False}

    def test_rendered_registration_has_token_placeholders(self, loaded: LoadedInstance) -> None:
        rendered = yaml.safe_load(rendered_files(loaded)["matrix/registration.yaml"])
        assert rendered["as_token"] == "@matrix-as-token@"
        assert rendered["hs_token"] == "@matrix-hs-token@"
        assert rendered["url"] == "http://127.0.0.1:8010"


def test_missing_template_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="as_token"):
        jinja.fill("matrix/registration.yaml.j2", id="x", url="y")


class TestDrift:
    """`render` writes and `render --check` compares."""

    def test_nothing_differs_after_writing(self, loaded: LoadedInstance) -> None:
        assert {str(found) for found in check_rendered(loaded)} == {
            "instance.json is missing",
            "instance.schema.json is missing",
            "control.json is missing",
            "matrix/element-config.json is missing",
            "matrix/registration.yaml is missing",
        }
        write_rendered(loaded)
        assert check_rendered(loaded) == ()
        before = (loaded.generated / "instance.json").stat().st_ino
        check_rendered(loaded)
        assert (loaded.generated / "instance.json").stat().st_ino == before

    def test_every_kind_of_difference(self, loaded: LoadedInstance) -> None:
        write_rendered(loaded)
        (loaded.generated / "control.json").write_text("{}")
        (loaded.generated / "matrix/registration.yaml").unlink()
        (loaded.generated / "matrix/extra").write_text("")
        assert [str(found) for found in check_rendered(loaded)] == [
            "control.json is changed",
            "matrix/extra is superfluous",
            "matrix/registration.yaml is missing",
        ]
        write_rendered(loaded)
        assert check_rendered(loaded) == ()

    def test_a_comment_in_the_source_makes_it_stale(self, loaded: LoadedInstance) -> None:
        write_rendered(loaded)
        with loaded.path.open("a") as handle:
            handle.write("# a comment\n")
        assert [str(d) for d in check_rendered(load_instance(loaded.root))] == [
            "instance.json is changed"
        ]


def test_the_example_instance_is_rendered() -> None:
    example = Path(__file__).parents[3] / "instance"
    assert check_rendered(load_instance(example)) == ()
