"""Configuration of recipe CI on a host, as the programs read it; and the unit of the runner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.naming import SERVICE_PORTS
from agency.recipes.configuration import read_config
from agency.recipes.engine.remote.secrets import PipelineSecretsSettings
from agency.recipes.engine.serving import TEARDOWN_S
from agency.recipes.stages.cgroup import DEFAULT_LIMITS
from agency.reconcile.gitea.client import GiteaClientSettings


def test_the_programs_read_what_the_host_writes(report: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipes.json"
    path.write_text(report["agency"]["recipes"])
    config = read_config(path)
    assert config.runner.through == f"https://127.0.0.1:{SERVICE_PORTS['traefik']}"
    assert config.ports.runner == SERVICE_PORTS["runner"]
    assert config.runner.tests is None, "this instance brings no suites"
    assert config.zone == "ci.agency.example.org"
    assert config.state == Path("/var/lib/agency-recipes")
    assert config.retention_days == 180, "the dashboard's option is the runner's, too"


def test_the_runner_has_the_time_that_its_teardown_takes(report: dict[str, Any]) -> None:
    unit = report["agency"]["unitTexts"]["agency-runner.service"]
    minutes = re.search(r"^TimeoutStopSec=(\d+)min$", unit, re.MULTILINE)
    assert minutes is not None
    assert int(minutes[1]) * 60 >= TEARDOWN_S + 60
    assert re.search(r"^KillMode=mixed$", unit, re.MULTILINE), "runs are asked by the runner"
    assert "recipes runner --config /etc/agency/recipes.json" in unit


def test_the_runner_finds_every_program_of_a_run(report: dict[str, Any]) -> None:
    unit = report["agency"]["unitTexts"]["agency-runner.service"]
    path = next(line for line in unit.splitlines() if line.startswith('Environment="PATH='))
    for package in ("abra", "chromium", "docker", "git"):
        assert re.search(rf"/nix/store/[a-z0-9]+-{package}-[^:/]+/bin:", path), package
    assert re.search(r"/nix/store/[a-z0-9]+-nss-[^:/]+-tools/bin", path), "it has certutil"
    names = {re.sub(r"^python3\.\d+-|-[0-9.]+$", "", one) for one in report["agency"]["python"]}
    assert names >= {"agency", "playwright", "pytest"}


def test_each_suite_can_have_a_control_group_of_its_own(report: dict[str, Any]) -> None:
    unit = report["agency"]["unitTexts"]["agency-runner.service"]
    for line in ("Delegate=pids memory", "DelegateSubgroup=program", "ProtectControlGroups=false"):
        assert f"\n{line}\n" in unit, line
    tasks = re.search(r"^TasksMax=(\d+)$", unit, re.MULTILINE)
    assert tasks is not None
    at_a_time = json.loads(report["agency"]["recipes"])["maxTests"]
    assert int(tasks[1]) > DEFAULT_LIMITS.tasks * at_a_time, "each suite may use its own share"
    assert "\nOOMPolicy=continue\n" in unit, "a suite that wants too much does not end the runner"


def test_runs_are_held_within_one_slice(report: dict[str, Any]) -> None:
    unit = report["agency"]["unitTexts"]["agency-runner.service"]
    assert "\nSlice=agency-recipes.slice\n" in unit
    assert "\nMemoryMax=2G\n" in report["agency"]["recipesSlice"]


def test_an_instance_brings_its_suites(
    new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path, tmp_path: Path
) -> None:
    instance = new_instance("suites")
    suites = instance / "tests" / "recipes" / "wiki"
    suites.mkdir(parents=True)
    (suites / "test_install.py").write_text("")
    expression = tmp_path / "suites.nix"
    expression.write_text(
        f"(import {snapshot} {{ instance = {instance}; }})"
        '.hosts.agency.config.environment.etc."agency/recipes.json".text\n'
    )
    found = json.loads(evaluate(expression))
    assert re.fullmatch(r"/nix/store/[^/]+", found["runner"]["tests"])


# With a Gitea elsewhere as the forge: what carries out the builds, and where they are started.
ENGINES = {
    "drone": ("drone-runner", "https://drone.agency.example.org"),
    "woodpecker": ("woodpecker-agent-local", "https://woodpecker.agency.example.org"),
    "gitea-actions": ("gitea-runner-recipes", "https://git.example.org"),
}


@pytest.fixture(scope="session")
def at_gitea(
    new_instance: Callable[..., Path],
    with_engine: Callable[[str], dict[str, Any]],
    evaluate: Callable[..., Any],
    snapshot: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """Files and units of recipe CI for each engine of others."""
    forge = {"url": "https://git.example.org"}
    hosts = []
    for engine, (runner, _) in ENGINES.items():
        services = with_engine(engine)
        services.pop("gitlab", None)
        instance = new_instance(engine, services=services, forge=forge)
        (instance / "host.nix").write_text(
            "{ agency.ci = { drone.acceptLicence = true;"
            ' pipeline.secrets.LOGIN = "registry-credentials"; }; }'
        )
        hosts.append(f'{engine} = of "{runner}" {instance};')
    expression = tmp_path_factory.mktemp("engines") / "engines.nix"
    expression.write_text(
        f"""
        let
          of = runner: instance:
            let inherit ((import {snapshot} {{ inherit instance; }}).hosts.agency) config; in {{
              units = builtins.mapAttrs (_: unit: unit.text or "") {{
                inherit (config.systemd.units) "agency-runner.service";
                runner = config.systemd.units."${{runner}}.service";
                secrets = config.systemd.units."agency-reconcile-pipeline-secrets.service";
                client = config.systemd.units."agency-reconcile-gitea-client.service" or {{ }};
              }};
              etc = builtins.mapAttrs (_: file: file.text) (removeAttrs {{
                recipes = config.environment.etc."agency/recipes.json";
                secrets = config.environment.etc."agency/reconcile/pipeline-secrets.json";
                client = config.environment.etc."agency/reconcile/gitea-client.json" or null;
              }} (if config.environment.etc ? "agency/reconcile/gitea-client.json"
                  then [ ] else [ "client" ]));
            }};
        in {{ {" ".join(hosts)} }}
        """
    )
    found: dict[str, dict[str, Any]] = evaluate(expression)
    return found


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_the_programs_know_where_an_engine_of_others_is(
    at_gitea: dict[str, dict[str, Any]], engine: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipes.json"
    path.write_text(at_gitea[engine]["etc"]["recipes"])
    config = read_config(path)
    assert config.engine == engine
    assert config.engine_at is not None
    assert config.engine_at.url == ENGINES[engine][1]
    assert config.engine_at.repository == "acme/recipe-runs"
    assert (config.forge.kind, config.forge.url) == ("gitea", "https://git.example.org")
    ordering = at_gitea[engine]["units"]["agency-runner.service"]
    token = f"/run/secrets/{config.engine_at.credential}"
    assert f"\nLoadCredential={config.engine_at.credential}:{token}\n" in ordering
    assert f"\nConditionPathExists={token}\n" in ordering, "it is skipped until it is brought"


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_what_carries_out_builds_is_the_user_of_the_state_with_a_run_s_programs(
    at_gitea: dict[str, dict[str, Any]], engine: str
) -> None:
    unit = at_gitea[engine]["units"]["runner"]
    for line in (
        "DynamicUser=true",
        "User=agency-recipes",
        "StateDirectory=agency-recipes",
        "SupplementaryGroups=docker",
        "Slice=agency-recipes.slice",
        "Delegate=pids memory",
        "NoNewPrivileges=true",
    ):
        assert f"\n{line}\n" in unit, line
    for package in ("agency", "abra", "chromium", "docker", "git", "bash"):
        assert re.search(rf"/nix/store/[a-z0-9]+-{package}-[^:/]+/bin:", unit), package
    assert "MemoryDenyWriteExecute=true" not in unit


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_reconcilers_are_told_what_they_know(
    at_gitea: dict[str, dict[str, Any]], engine: str
) -> None:
    found = at_gitea[engine]
    secrets = PipelineSecretsSettings.model_validate_json(found["etc"]["secrets"])
    assert secrets.secrets == {"LOGIN": "registry-credentials"}
    for name in ("registry-credentials", "ci-engine-token"):
        assert f"\nLoadCredential={name}:/run/secrets/{name}\n" in found["units"]["secrets"]
    if engine == "gitea-actions":
        assert "client" not in found["etc"], "nobody logs in to it but at Gitea"
        return
    client = GiteaClientSettings.model_validate_json(found["etc"]["client"])
    assert client.url == "https://git.example.org"
    assert client.issued == f"{engine}-oauth-client"
    path = {"drone": "/login", "woodpecker": "/authorize"}[engine]
    assert client.redirect_uri == f"https://{engine}.agency.example.org{path}"
    unit = found["units"]["client"]
    assert "\nUser=root\n" in unit
    assert "\nLoadCredential=forge-bot-token:/run/secrets/forge-bot-token\n" in unit
    assert "\nOnSuccess=agency-issued.service\n" in unit, "who reads the client is restarted"


pytestmark = pytest.mark.usefixtures("snapshot")
