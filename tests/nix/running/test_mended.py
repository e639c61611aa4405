"""Settings of the full machine without which a unit fails, waits, restarts or is never reached."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from unitwalk.units import Machine, Unit, machine

from agency import naming
from agency.reconcile.engine.engine import Limits

MODULES = Path(__file__).resolve().parents[3] / "modules"
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def full(hosts: dict[str, Facts]) -> Machine:
    return machine(hosts["builtin"])


@pytest.fixture(scope="module")
def reconcilers(full: Machine) -> dict[str, Unit]:
    return {
        name: unit
        for name, unit in full.units.items()
        if re.fullmatch(r"agency-reconcile-.*\.service", name)
    }


# Starting


def test_a_switch_waits_for_nothing_that_takes_minutes(full: Machine) -> None:
    waited_for = full.pulled_by("multi-user.target")
    beside = full.pulled_by("timers.target")
    slow = {
        "gitlab.target",
        "gitlab.service",
        "gitlab-db-config.service",
        "agency-reconcile-gitlab-bootstrap.service",
        "agency-reconcile-traefik.service",
    }
    assert not slow & waited_for
    assert slow <= beside
    assert "agency-reconcile-swarm-init.service" in waited_for


def test_what_is_started_beside_a_switch_runs_again_when_it_changed(full: Machine) -> None:
    for name in ("gitlab-bootstrap", "traefik"):
        timer = full.units[f"agency-reconcile-{name}.timer"]
        assert timer.last("OnActiveSec") == "1s"
        assert timer.last("X-Restart-Triggers").startswith("/nix/store/")


def test_a_reconciler_that_failed_is_tried_again(reconcilers: dict[str, Unit]) -> None:
    assert len(reconcilers) >= 6
    for unit in reconcilers.values():
        assert (unit.last("Type"), unit.last("Restart")) == ("oneshot", "on-failure")
        assert unit.last("RestartSec") == "30s"
        assert (unit.last("StartLimitBurst"), unit.last("StartLimitIntervalSec")) == ("20", "30min")


def test_a_reconciler_ends_before_systemd_ends_it(reconcilers: dict[str, Unit]) -> None:
    limits = {}
    for name, unit in reconcilers.items():
        words = unit.last("ExecStart").split()
        own = int(words[words.index("--timeout") + 1])
        assert int(unit.last("TimeoutStartSec").removesuffix("s")) == own + 60, name
        limits[name] = own
    assert limits["agency-reconcile-gitlab-bootstrap.service"] > Limits().run_s


def test_the_bootstrap_logs_in_by_no_password(full: Machine) -> None:
    unit = full.units["agency-reconcile-gitlab-bootstrap.service"]
    assert unit.all("LoadCredential") == ["gitlab-admin-token:/run/gitlab-admin-token/token"]
    assert "gitlab-admin-token.service" in full.pulled_by(unit.name) & full.before(unit.name)
    maker = full.units["gitlab-admin-token.service"]
    assert (maker.last("User"), maker.last("UMask")) == ("gitlab", "0077")
    assert "gitlab-db-config.service" in maker.words("Requires")
    # Removed within a day, long before it expires.
    rule = next(one for one in full.facts["tmpfiles"] if "/run/gitlab-admin-token" in one)
    assert rule.split() == ["d", "/run/gitlab-admin-token", "0700", "gitlab", "gitlab"]
    script = (MODULES / "lib/gitlab-admin-token.rb").read_text()
    assert "expires_at: 3.days.from_now" in script


def test_a_run_by_hand_knows_where_credentials_are(hosts: dict[str, Facts]) -> None:
    listed = {name: json.loads(text) for name, text in hosts["said"]["credentials"].items()}
    assert listed["agency/reconcile/gitlab-bootstrap.credentials.json"] == {
        "gitlab-admin-token": "/run/gitlab-admin-token/token"
    }
    assert listed["agency/reconcile/traefik.credentials.json"] == {
        name: f"/run/secrets/{name}"
        for name in ("wildcard-certificate", "wildcard-certificate-key")
    }


def test_woodpecker_lets_somebody_in_and_clones(hosts: dict[str, Facts]) -> None:
    units = machine(hosts["woodpecker"]).units
    server = dict(
        one.split("=", 1) for one in units["woodpecker-server.service"].words("Environment")
    )
    agent = dict(
        one.split("=", 1) for one in units["woodpecker-agent-local.service"].words("Environment")
    )
    assert (server["WOODPECKER_OPEN"], server["WOODPECKER_ADMIN"]) == ("false", "root")
    assert server["WOODPECKER_GRPC_SECRET_FILE"].endswith("/woodpecker-rpc-secret")
    assert agent["WOODPECKER_AGENT_CONFIG_FILE"] == "/var/lib/woodpecker-agent/agent.conf"
    assert "woodpecker-plugin-git" in agent["PATH"]


# Network


def test_dhcp_leaves_the_interfaces_of_containers_alone(said: Facts) -> None:
    assert {"veth*", "docker*", "br-*", "cni*", "flannel*", "incusbr*"} <= set(said["denied"])


def test_federation_is_delegated_where_it_is_on(said: Facts) -> None:
    path = "/.well-known/matrix/server"
    assert json.loads(said["federating"][path]) == {"m.server": "matrix.agency.example.org:443"}
    assert 443 in said["ports"]
    assert path not in said["documents"]


def test_no_site_shows_a_page_of_nginx(said: Facts) -> None:
    for name, location in said["locations"].items():
        if name == "_":
            continue  # its handshake ends before any page
        answers = (location["return"], location["proxyPass"], location["root"])
        assert any(answers), name
    assert said["locations"]["matrix"]["return"] == "404"
    assert said["locations"]["well-known"]["return"] == "302 https://element.agency.example.org/"


def test_the_edge_has_room_for_clients_that_wait(said: Facts) -> None:
    nginx = said["nginx"]
    assert nginx["events"] == "worker_connections 8192;"
    assert "worker_processes auto;" in nginx["main"]
    assert int(re.findall(r"worker_rlimit_nofile (\d+);", nginx["main"])[0]) >= 2 * 8192
    assert "proxy_timeout 1h;" in nginx["stream"]
    longest = 253  # of a DNS name; a bucket holds one with its pointers
    assert nginx["names"] > longest
    assert int(re.findall(r"map_hash_bucket_size (\d+);", nginx["stream"])[0]) > longest


def test_a_push_may_take_its_time(said: Facts) -> None:
    assert "proxy_read_timeout 3600s;" in said["extra"]["gitlab"]
    assert "proxy_read_timeout 900s;" in said["extra"]["registry"]
    for name in ("gitlab", "registry"):
        assert "proxy_request_buffering off;" in said["extra"][name]
    assert "proxy_request_buffering" not in said["extra"]["grafana"]


def test_only_containers_count_as_inside(said: Facts) -> None:
    assert "veth*" not in said["inside"]
    assert {"docker0", "docker_gwbridge", "cni0"} <= set(said["inside"])


def test_no_node_port_is_an_agent_s(said: Facts) -> None:
    (flag,) = (one for one in said["k3s"] if "service-node-port-range" in one)
    lowest, highest = map(int, flag.partition("=")[2].split("-"))
    assert naming.AGENT_PORTS[-1] < lowest < highest
    assert not {*naming.SERVICE_PORTS.values()} & {*range(lowest, highest + 1)}


# Lasting


def test_what_the_rules_ask_for_is_collected(said: Facts) -> None:
    rules = yaml.safe_load((MODULES / "observability/alerts.yml").read_text())
    asked = {rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    assert any("node_systemd_unit_start_time_seconds" in one for one in asked)
    assert "--collector.systemd.enable-start-time-metrics" in said["node"]


def test_no_panel_shows_what_the_exporter_may_not_read() -> None:
    """/proc/PID/io of other users is for who may trace them."""
    for path in (MODULES / "observability/dashboards").glob("*.json"):
        text = path.read_text()
        assert "namedprocess_namegroup_cpu_seconds_total" in text or "agents" not in path.stem
        assert not re.search(r"namedprocess_namegroup_(read|write)_bytes", text), path.name


def test_jobs_have_the_device_where_the_machine_has(said: Facts) -> None:
    device = "--docker-devices=/dev/kvm"
    assert device not in said["flags"]
    assert device in said["flagsWithKvm"]


def test_root_in_a_job_can_install_packages(said: Facts) -> None:
    added = {one.partition("=")[2] for one in said["flags"] if one.startswith("--docker-cap-add=")}
    assert added == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert "--docker-cap-drop=ALL" in said["flags"]


def test_the_image_of_jobs_is_pinned_or_warned_of(said: Facts) -> None:
    images = said["images"]
    digest = "0123456789abcdef" * 4
    assert images["config"] == {"image": f"debian:stable-slim@sha256:{digest}", "warnings": []}
    assert images["named"]["image"].endswith("debian@sha256:" + "0" * 64)
    assert images["named"]["warnings"] == []
    assert images["floating"]["image"] == "debian:stable-slim"
    (warning,) = images["floating"]["warnings"]
    assert "agency.gitlab-runner.imageDigest" in warning


def test_sandboxes_have_a_place_for_their_disks(said: Facts) -> None:
    (pool,) = said["pools"]["storage_pools"]
    (profile,) = said["pools"]["profiles"]
    assert profile["name"] == "default"
    assert profile["devices"]["root"]["pool"] == pool["name"]
    assert "eth0" not in profile["devices"]


def test_old_generations_go(said: Facts) -> None:
    assert said["gc"] == {"automatic": True, "options": "--delete-older-than 30d"}
    assert said["boot"] == {"configurationLimit": 10, "editor": False, "grub": 10}


def test_memory_is_limited_and_compressed(said: Facts) -> None:
    assert (said["zram"], said["throwawayZram"]) == (True, False)
    assert said["docker"]["cgroup-parent"] == "docker-apps.slice"
    assert said["containers"]["MemoryMax"] == said["memory"]["containers"]
    # Of the 64G of the tests' machine.
    assert said["reserved"]["memory"] == "60Gi"
    assert {"gitlab", "synapse", "postgresql", "pods", "agent pm"} <= set(said["memory"])


def test_a_machine_that_is_smaller_is_told(said: Facts) -> None:
    (rules,) = said["rules"]
    (rule,) = rules["groups"][0]["rules"]
    assert rule["expr"] == f"node_memory_MemTotal_bytes / 1024 / 1024 < {64 * 1024 * 9 // 10}"
    assert "agency.memory.machine" in rule["annotations"]["description"]


def test_agents_do_not_log_in(said: Facts) -> None:
    assert said["denyGroups"] == ["agents"]


def test_an_agent_finds_what_its_home_brings(said: Facts) -> None:
    path = 'Environment="PATH=/etc/profiles/per-user/agent-pm/bin:/run/current-system/sw/bin"'
    assert path in said["home"]
    assert "per-user" not in said["homeless"]


def test_a_host_is_of_the_system_that_is_asked_for(said: Facts) -> None:
    assert said["systems"] == {"asked": "aarch64-linux", "unasked": "x86_64-linux"}
