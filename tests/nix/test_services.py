"""The services: alone and together, within their limits, their secrets handed over by systemd."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from agency import naming
from agency.cli import cli
from agency.reconcile.engine.registry import RECONCILERS
from agency.secrets.delivery.compose import ComposeConfig

ALONE = ("ci", "edge", "element", "gitlab", "k3s", "matrix", "observability", "swarm", "traefik")


@pytest.mark.parametrize("feature", ALONE)
def test_a_service_runs_alone(report: dict[str, Any], feature: str) -> None:
    machine = report["alone"][feature]
    assert machine["drvPath"].endswith(".drv")
    assert (machine["failing"], machine["warnings"]) == ([], [])


def test_what_is_off_is_not_there(report: dict[str, Any]) -> None:
    alone = {name: set(machine["units"]) for name, machine in report["alone"].items()}
    assert "agency-control" not in alone["swarm"]
    assert {"agency-reconcile-swarm-init", "agency-reconcile-proxy-network"} <= alone["swarm"]
    assert not any(name.startswith("agency-reconcile") for name in alone["edge"])
    assert "agency-runner" in alone["ci"]
    assert "agency-runner" not in alone["traefik"]


@pytest.mark.parametrize("engine", ["builtin", "drone", "woodpecker"])
def test_every_engine_evaluates_with_everything_else(report: dict[str, Any], engine: str) -> None:
    machine = report["engines"][engine]
    assert machine["drvPath"].endswith(".drv")
    assert (machine["failing"], machine["warnings"]) == ([], [])


def test_an_engine_runs_as_many_tests_as_the_instance_says(report: dict[str, Any]) -> None:
    engines = report["engines"]
    assert set(engines["builtin"]["services"]) == {"agency-runner"}
    both = {"drone-runner", "drone-server"}
    assert set(engines["drone"]["services"]) == {"agency-runner", *both}
    assert "DRONE_RUNNER_CAPACITY=3\n" in engines["drone"]["issued"]["drone-runner.env"]
    assert "DRONE_CLEANUP_DEADLINE_RUNNING=60m\n" in engines["drone"]["issued"]["drone-server.env"]
    agent = engines["woodpecker"]["services"]["woodpecker-agent-local"]
    assert 'WOODPECKER_MAX_WORKFLOWS=3"' in agent
    server = engines["woodpecker"]["services"]["woodpecker-server"]
    assert 'WOODPECKER_MAX_PIPELINE_TIMEOUT=60"' in server


def _leaf(arguments: Sequence[str]) -> tuple[click.Command | None, list[str]]:
    """The command that `arguments` name, if there is one, and what is left for it."""
    command: click.Command | None = cli
    rest = list(arguments)
    while isinstance(command, click.Group) and rest:
        if command.invoke_without_command and rest[0].startswith("-"):
            break  # it does something by itself
        command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
    return command, rest


def test_every_unit_calls_a_command_that_exists(report: dict[str, Any]) -> None:
    units = report["agency"]["units"]
    assert {"agency-control", "agency-issued", "agency-reconcile-traefik"} <= set(units)
    for name, argv in units.items():
        command, rest = _leaf(argv)
        assert command is not None, argv
        assert not isinstance(command, click.Group) or command.invoke_without_command, argv
        context = click.Context(command, info_name=name)
        values, left, _ = command.make_parser(context).parse_args(args=list(rest))
        assert left == [], name
        missing = [one.name for one in command.params if one.required and not values.get(one.name)]
        assert missing == [], name


def test_reconcilers_get_what_their_programs_read(report: dict[str, Any]) -> None:
    inputs = report["services"]["reconcilers"]
    assert set(inputs) <= set(RECONCILERS)
    assert {"swarm-init", "proxy-network", "traefik", "gitlab-bootstrap"} <= set(inputs)
    for name, settings in inputs.items():
        module = importlib.import_module(RECONCILERS[name].module)
        module.SETTINGS.model_validate_json(json.dumps(settings))


def test_the_forge_issues_what_is_waited_for(report: dict[str, Any]) -> None:
    """What gitlab-bootstrap writes is what the instance calls class C, by the same names."""
    settings = report["services"]["reconcilers"]["gitlab-bootstrap"]
    issued = {settings["bot"].get("issued", "forge-bot-token")}
    issued |= {one["issued"] for one in settings["runners"]}
    issued |= {
        f"{one['issued']}-{part}" for one in settings["applications"] for part in ("id", "secret")
    }
    secrets = report["agency"]["secrets"]
    assert issued == {name for name, one in secrets.items() if one["class"] == "C"}
    compose = ComposeConfig.model_validate_json(report["services"]["etc"]["agency/issued.json"])
    paths = {str(path) for one in compose.files for path in one.secrets.values()}
    paths |= {str(one.path) for one in compose.watched}
    assert paths >= {f"{settings['issuedDir']}/{name}" for name in issued}


def test_every_secret_restarts_who_reads_it(report: dict[str, Any]) -> None:
    """A secret that nobody reads has no place on the machine; some are read at each start."""
    restarted = report["services"]["restarted"]
    assert {"gitlab-db-key", "grafana-secret-key", "k3s-token", "webhook-hmac"} <= set(restarted)
    assert [name for name, units in restarted.items() if not units] == [
        "backup-password",
        "deploy-key",
    ]
    assert "gitlab-config.service" in restarted["gitlab-db-key"]
    assert restarted["k3s-token"] == ["k3s.service"]
    # Docker's own reader looks at it at each pull: the catalogue says that nothing restarts it.
    consumers = report["agency"]["secrets"]["registry-credentials"]["consumers"]
    assert "docker.service" in consumers
    assert restarted["registry-credentials"] == ["agency-runner.service"]


def test_secrets_are_read_by_way_of_systemd_alone(report: dict[str, Any]) -> None:
    """No service opens a file under /run/secrets or the directory of issued secrets itself."""
    places = ("/run/secrets/", "/var/lib/agency/issued/", "/run/agency-issued/")
    handed = re.compile(r"(LoadCredential|ConditionPathExists)=")
    found = [
        (unit, line)
        for unit, text in report["services"]["allUnits"].items()
        for line in text.splitlines()
        if any(place in line for place in places) and not handed.match(line)
    ]
    assert found == []
    told = {
        name
        for name, text in report["services"]["etc"].items()
        if any(place in text for place in places)
        # Where root's runs by hand look, as systemd does for the unit.
        and not name.endswith(".credentials.json")
    }
    assert told <= {"agency/issued.json", "agency/secrets.json", "ssh/ssh_config"}
    ssh = report["services"]["etc"]["ssh/ssh_config"]
    assert re.findall(r"\S*/run/\S+", ssh) == ["/run/secrets/deploy-key"]


def test_a_credential_is_of_a_secret_of_the_same_name(report: dict[str, Any]) -> None:
    units = report["services"]["allUnits"].values()
    pattern = r"^LoadCredential=([^:]+):/run/secrets/(?:rendered/)?(.+)$"
    pairs = [pair for text in units for pair in re.findall(pattern, text, re.M)]
    assert len(pairs) > 20
    # An agent's unit knows its own without the agent's name.
    assert [pair for pair in pairs if pair[1].removeprefix("agent-%i-") != pair[0]] == []


def test_all_of_gitlab_is_within_its_slice(report: dict[str, Any]) -> None:
    services = report["services"]
    ours = re.compile(r"(gitlab|gitaly|redis-gitlab|docker-registry)(?!-runner)")
    units = {name: one for name, one in services["slices"].items() if ours.match(name)}
    assert len(units) >= 8
    assert {name for name, one in units.items() if one != "system-gitlab.slice"} == set()
    assert services["gitlabSlice"]["MemoryMax"] == "6G"
    assert services["gitlabSlice"]["CPUQuota"] == "400%"


def test_no_two_services_claim_a_port(report: dict[str, Any]) -> None:
    told = report["services"]["listeners"]
    claims: dict[int, list[str]] = {}
    for owner, ports in told.items():
        for port in ports if isinstance(ports, list) else [ports]:
            number = int(str(port).rsplit(":", 1)[-1])
            claims.setdefault(number, []).append(owner)
    assert {port: owners for port, owners in claims.items() if len(owners) > 1} == {}
    named = {name for name in told if name in naming.SERVICE_PORTS}
    for name in named - {"synapse"}:
        assert naming.SERVICE_PORTS[name] in claims, name
    agents = [one["port"] for one in report["agency"]["agents"].values()]
    assert not set(agents) & (set(claims) | set(naming.SERVICE_PORTS.values()))


def test_only_the_edge_is_open_to_the_outside(report: dict[str, Any]) -> None:
    """And sshd, by which operators come: they have keys, and nobody a password."""
    assert report["services"]["openPorts"] == [22, 443]


def test_what_is_under_test_is_passed_to_traefik(report: dict[str, Any]) -> None:
    assert report["services"]["passthrough"] == {
        "*.ci.agency.example.org": naming.SERVICE_PORTS["traefik"],
        "traefik.agency.example.org": naming.SERVICE_PORTS["traefik"],
    }


def test_no_person_and_no_agent_may_use_docker(report: dict[str, Any]) -> None:
    assert report["services"]["members"] == []


def test_jobs_of_merge_requests_see_neither_kvm_nor_docker(report: dict[str, Any]) -> None:
    runners = report["services"]["runners"]
    assert set(runners) == {"protected", "sandbox"}
    assert runners["sandbox"]["executor"] == "custom"
    flags = " ".join(runners["sandbox"]["registrationFlags"])
    assert "sandbox" in flags
    assert "docker" not in flags
    assert "kvm" not in flags
    for runner in runners.values():
        assert not runner["dockerPrivileged"]
        assert runner["dockerVolumes"] == []
        assert runner["authenticationTokenConfigFile"].startswith("/run/credentials/")
    levels = {
        one["issued"]: one["accessLevel"]
        for one in report["services"]["reconcilers"]["gitlab-bootstrap"]["runners"]
    }
    assert levels == {
        "gitlab-runner-token": "ref_protected",
        "gitlab-sandbox-runner-token": "not_protected",
    }


def test_every_own_units_exposure_is_low(report: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    texts = report["services"]["allUnits"]
    names = [f"{name}.service" for name in report["agency"]["units"]] + ["gitlab-http.service"]
    for name in names:
        (tmp_path / name).write_text(texts[name])
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    for name in names:
        result = subprocess.run(
            [*argv, str(tmp_path / name)], capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("host", ["agency", "throwaway"])
def test_people_log_in_to_matrix_through_one_provider(report: dict[str, Any], host: str) -> None:
    synapse = report[host]["synapse"]
    assert "oidc" in synapse["extras"]
    (provider,) = json.loads(synapse["oidc"])["oidc_providers"]
    assert provider["pkce_method"] == "always"
    assert not provider["discover"]
    places = [value for name, value in provider.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(places) == 4
    assert [one for one in places if not one.startswith(f"{provider['issuer']}/")] == []


def test_only_a_throwaway_s_provider_goes_without_tls(report: dict[str, Any]) -> None:
    forge, own = (
        json.loads(report[host]["synapse"]["oidc"])["oidc_providers"][0]
        for host in ("agency", "throwaway")
    )
    assert forge["issuer"].startswith("https://gitlab.")
    assert forge["token_endpoint"] == f"{forge['issuer']}/oauth/token"
    assert "skip_verification" not in forge
    assert own["issuer"] == f"http://127.0.0.1:{naming.SERVICE_PORTS['oidc-provider']}"
    assert own["skip_verification"] is True


def test_what_is_issued_is_composed_at_once(report: dict[str, Any]) -> None:
    text = report["services"]["allUnits"]["agency-reconcile-gitlab-bootstrap.service"]
    assert "\nOnSuccess=agency-issued.service\n" in text
    assert "\nOnFailure=agency-issued.service\n" in text


@pytest.mark.needs_root
def test_the_kernel_accepts_the_rules_for_docker(report: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")
    rules = tmp_path / "docker.nft"
    content = report["services"]["tables"]["agency-docker"]
    rules.write_text(f"table inet agency-docker {{\n{content}}}\n")
    result = subprocess.run(["nft", "-c", "-f", str(rules)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_kubeconfig_is_for_the_control_plane(report: dict[str, Any]) -> None:
    flags = report["services"]["k3s"]
    assert "--write-kubeconfig-mode=0440" in flags
    assert "--write-kubeconfig-group=agency-control" in flags


def test_grafana_reads_its_secrets_from_files_that_systemd_gives_it(report: dict[str, Any]) -> None:
    settings = report["services"]["grafana"]
    credential = re.compile(r"\$__file\{/run/credentials/grafana\.service/[a-z-]+\}\Z")
    security, oauth = settings["security"], settings["auth.generic_oauth"]
    for value in (
        security["secret_key"],
        security["admin_password"],
        oauth["client_id"],
        oauth["client_secret"],
    ):
        assert credential.match(value)
    assert settings["server"]["http_addr"] == "127.0.0.1"


def test_prometheus_looks_at_every_service(report: dict[str, Any]) -> None:
    services = report["services"]
    assert set(services["scraped"]) >= {"node", "processes", "synapse", "gitlab", "probe-http"}
    probed = {"control", "synapse", "gitlab", "grafana", "bridge", "dashboard"}
    assert set(services["probes"]) == probed


@pytest.mark.parametrize("before", ["directory", "link", "nothing"])
def test_what_another_installer_left_makes_room_for_sops_nix(
    report: dict[str, Any], before: str, tmp_path: Path
) -> None:
    """A link replaces the directory of the agency's own installer; what sops-nix made stays."""
    unit = report["services"]["allUnits"]["sops-install-secrets.service"]
    (line,) = re.findall(r"^ExecStartPre=-(.+)$", unit, re.MULTILINE)
    secrets, made = tmp_path / "secrets", tmp_path / "secrets.d" / "1"
    made.mkdir(parents=True)
    (made / "kept").touch()
    if before == "directory":
        secrets.mkdir()
        (secrets / "old").touch()
    elif before == "link":
        secrets.symlink_to(made)
    argv = re.sub(r"/nix/store/[^/]+/bin/", "", line).replace("/run/secrets", str(secrets)).split()
    done = subprocess.run(argv, check=False, capture_output=True)
    assert (done.returncode == 0) is (before != "nothing"), "systemd is told not to mind"
    assert secrets.is_symlink() is (before == "link")
    assert secrets.exists() is (before == "link")
    assert (made / "kept").exists()


# Services that are sent a token, a password or a cookie, by the feature or engine that runs each.
# Of the others, metrics and probes are asked for without one; what listens nowhere is not held.
TOLD = {
    "builtin": {"control", "synapse", "gitlab", "grafana", "registry", "bridge", "dashboard"},
    "drone": {"drone", "drone-runner"},
    "woodpecker": {"woodpecker", "woodpecker-agents"},
}
TOLD["builtin"] |= {"control-api", "models", "traefik", "traefik-http"}
NOT_TOLD = {
    "element",  # files of nginx
    "prometheus",
    "alertmanager",  # it tells its token, and is told none
    "synapse-metrics",
    "node-exporter",
    "process-exporter",
    "blackbox-exporter",
    "oidc-provider",  # of a throwaway machine, on which nobody else is
    "runner",  # numbers alone
}


def _set(table: str, name: str) -> set[str]:
    found = re.search(rf"set {name} {{[^}}]*?elements = {{ ([^}}]*) }}", table)
    return set(found[1].split(", ")) if found else set()


def test_every_service_is_told_secrets_or_not() -> None:
    told = set().union(*TOLD.values())
    assert told.isdisjoint(NOT_TOLD)
    assert told | NOT_TOLD == set(naming.SERVICE_PORTS)


@pytest.mark.parametrize("engine", sorted(TOLD))
def test_who_is_told_a_secret_is_the_one_who_answers(report: dict[str, Any], engine: str) -> None:
    machine = report["engines"][engine]
    table, held = machine["table"], machine["held"]
    ports, servers = _set(table, "service_ports"), _set(table, "service_servers")
    for name in TOLD["builtin"] | TOLD[engine]:
        port = naming.SERVICE_PORTS[name]
        assert held[name]["port"] == port
        assert str(port) in ports, name
        mine = {one for one in servers if one.endswith(f" . {port}")}
        assert mine == {f"{uid} . {port}" for uid in {0, held[name]["uid"]}}, name
    uids = {one["uid"] for one in held.values()}
    assert uids.isdisjoint(naming.AGENT_UIDS)
    assert all(isinstance(uid, int) for uid in uids)


def test_who_answers_is_who_the_unit_runs_as(report: dict[str, Any]) -> None:
    """The user that the table names is the one that systemd gives the program."""
    texts = report["services"]["allUnits"]
    held = report["services"]["held"]
    for name, unit in {
        "control": "agency-control",
        "control-api": "agency-control",
        "synapse": "matrix-synapse",
        "grafana": "grafana",
        "prometheus": "prometheus",
        "registry": "docker-registry",
        "bridge": "agency-bridge",
        "dashboard": "agency-dashboard",
        "blackbox-exporter": "prometheus-blackbox-exporter",
    }.items():
        assert f"\nUser={held[name]['user']}\n" in texts[f"{unit}.service"], name
    for engine, units in {
        "drone": {"drone": "drone-server", "drone-runner": "drone-runner"},
        "woodpecker": {"woodpecker": "woodpecker-server"},
    }.items():
        machine = report["engines"][engine]
        for name, unit in units.items():
            # A dynamic user has its unit's name, and the uid of a user of that name; what runs
            # builds is the user of recipe CI's state.
            own = (unit, naming.SERVICE_UIDS[name])
            user, uid = (
                ("agency-recipes", naming.SERVICE_UIDS["recipes"]) if "runner" in name else own
            )
            assert "\nDynamicUser=true\n" in machine["services"][unit]
            assert f"\nUser={user}\n" in machine["services"][unit] or user == unit
            assert (machine["held"][name]["user"], machine["held"][name]["uid"]) == (user, uid)


def test_the_control_plane_is_asked_by_those_who_must(report: dict[str, Any]) -> None:
    control = report["services"]["held"]["control"]
    observers = {"alertmanager", "blackbox-exporter", "prometheus"}
    edge = {"nginx"}  # for the page of secrets, and nothing else of it
    own = {"agency-control", "agency-incidents"}  # what is escalated comes as an alert
    assert set(control["clients"]) == own | {"matrix-synapse"} | observers | edge
    table = report["services"]["tables"]["agency-agents"]
    manager = report["services"]["held"]["alertmanager"]
    assert manager["clients"] == ["prometheus"]
    api = report["services"]["held"]["control-api"]
    assert set(api["clients"]) == {"agency-control", "nginx"}
    ports = {str(each["port"]) for each in (control, manager, api)}
    assert _set(table, "closed_ports") == ports


def test_the_edge_leads_to_one_page_of_the_control_plane(report: dict[str, Any]) -> None:
    locations = report["services"]["nginx"]["locations"]["control"]
    passed = {path for path, each in locations.items() if each["proxyPass"]}
    assert passed == {"/secrets/enter/"}
    assert locations["/"]["proxyPass"] is None
    assert "access_log off;" in locations["/secrets/enter/"]["extraConfig"]
    settings = json.loads(report["services"]["etc"]["agency/control.json"])
    assert settings["public_url"].startswith("https://control.")


@pytest.mark.parametrize("unit", ["agency-control", "matrix-synapse", "alertmanager"])
def test_who_sends_tokens_runs_behind_the_firewall(report: dict[str, Any], unit: str) -> None:
    text = report["services"]["allUnits"][f"{unit}.service"]
    for order in ("Requires", "After"):
        (names,) = re.findall(rf"^{order}=(.*)$", text, re.MULTILINE)
        assert "nftables.service" in names.split()


def test_systemd_holds_the_port_of_the_control_plane(report: dict[str, Any]) -> None:
    socket = report["agency"]["unitTexts"]["agency-control.socket"]
    assert f"\nListenStream=127.0.0.1:{naming.SERVICE_PORTS['control']}\n" in socket
    text = report["services"]["allUnits"]["agency-control.service"]
    assert "agency-control.socket" in text
    assert "\nLimitNOFILE=4096\n" in text


def test_the_http_interface_has_a_port_that_systemd_holds_and_a_way_past_the_edge(
    report: dict[str, Any],
) -> None:
    port = naming.SERVICE_PORTS["control-api"]
    assert json.loads(report["agency"]["control"])["api"] == {"listen_port": port}
    socket = report["agency"]["unitTexts"]["agency-control.socket"]
    assert f"\nListenStream=127.0.0.1:{port}\n" in socket
    location = report["services"]["nginx"]["locations"]["matrix"]["/api/v1/"]
    assert location["proxyPass"] == f"http://127.0.0.1:{port}"
    assert "proxy_buffering off;" in location["extraConfig"]


def test_without_the_option_there_is_no_http_interface(snapshot: Path) -> None:
    machine = (
        snapshot / "modules/portable/machine/etc/systemd/system/agency-control.socket"
    ).read_text()
    assert str(naming.SERVICE_PORTS["control"]) in machine, "positive control"
    assert str(naming.SERVICE_PORTS["control-api"]) not in machine


def test_the_edge_believes_no_address_that_a_client_names(report: dict[str, Any]) -> None:
    nginx = report["services"]["nginx"]
    assert nginx["recommended"] is False
    assert "proxy_add_x_forwarded_for" not in json.dumps(nginx)
    proxied = {
        f"{site}{path}": location
        for site, locations in nginx["locations"].items()
        for path, location in locations.items()
        if location["proxyPass"] is not None
    }
    assert len(proxied) >= 6
    for place, location in proxied.items():
        assert location["recommendedProxySettings"] is False, place
        lines = location["extraConfig"].splitlines()
        for header in ("X-Forwarded-For", "X-Real-IP"):
            set_here = [line for line in lines if line.startswith(f"proxy_set_header {header} ")]
            assert set_here == [f"proxy_set_header {header} $remote_addr;"], place
        assert 'proxy_set_header Forwarded "";' in lines, place


def test_nobody_takes_a_name_of_somebody_else_in_the_forge(report: dict[str, Any]) -> None:
    """Matrix and Grafana take it for theirs."""
    gitlab = report["services"]["gitlabExtra"]
    assert gitlab["username_changing_enabled"] is False
    assert gitlab["signup_enabled"] is False
    people = report["services"]["reconcilers"]["gitlab-bootstrap"]["people"]
    assert [one["username"] for one in people] == ["alice"], "operators have theirs from the start"


def test_what_crashes_leaves_no_memory_on_disk(report: dict[str, Any]) -> None:
    assert report["services"]["coredump"] == {"Storage": "none", "ProcessSizeMax": 0}
    assert "\nLimitCORE=0\n" in report["services"]["allUnits"]["matrix-synapse.service"]
