"""Who hears of an alert: the configuration that NixOS writes for Prometheus and Alertmanager."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from debian_programs import program

from agency import naming

SUPPORT = Path(__file__).resolve().parents[1] / "support"
TOKEN = "/run/credentials/alertmanager.service/alertmanager-token"


def _receivers(configuration: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in configuration["receivers"]}


def test_the_integration_tests_run_this_very_configuration(report: dict[str, Any]) -> None:
    kept = json.loads((SUPPORT / "alertmanager.json").read_text())
    assert report["services"]["alerting"]["alertmanager"] == kept


def test_alerts_go_to_the_control_plane_with_its_token(report: dict[str, Any]) -> None:
    alerting = report["services"]["alerting"]
    (targets,) = (one["static_configs"] for one in alerting["alertmanagers"])
    assert targets == [{"targets": [f"127.0.0.1:{naming.SERVICE_PORTS['alertmanager']}"]}]
    assert alerting["alertmanager"]["route"]["receiver"] == "control-room"
    (hook,) = _receivers(alerting["alertmanager"])["control-room"]["webhook_configs"]
    assert hook["url"] == f"http://127.0.0.1:{naming.SERVICE_PORTS['control']}/alerts"
    assert hook["http_config"]["authorization"] == {"type": "Bearer", "credentials_file": TOKEN}
    assert json.loads(report["agency"]["control"])["alerts"] is True


def test_what_is_about_the_control_plane_goes_both_ways(report: dict[str, Any]) -> None:
    route = report["services"]["alerting"]["alertmanager"]["route"]
    first, rest = route["routes"]
    assert first["matchers"] == ['component="control-plane"']
    assert (first["receiver"], first["continue"]) == ("second-way", True)
    assert rest == {"receiver": "control-room"}


def test_secrets_come_as_credentials_alone(report: dict[str, Any], canary: Any) -> None:
    text = report["services"]["allUnits"]["alertmanager.service"]
    configuration = json.dumps(report["services"]["alerting"])
    for name in ("alertmanager-token", "alerts-mail-password", "alerts-webhook-url"):
        assert f"LoadCredential={name}:/run/secrets/{name}" in text
        assert f"/run/credentials/alertmanager.service/{name}" in configuration
        assert canary(name) not in text + configuration
    control = report["agency"]["unitTexts"]["agency-control.service"]
    assert "LoadCredential=alertmanager-token:" in control
    assert "alerts-webhook-url" not in control


def test_without_a_second_way_there_is_the_room(report: dict[str, Any]) -> None:
    configuration = report["engines"]["woodpecker"]["alerting"]
    assert list(_receivers(configuration)) == ["control-room"]
    assert configuration["route"]["routes"] == []


def test_without_a_control_plane_there_is_the_second_way(report: dict[str, Any]) -> None:
    configuration = report["alone"]["observability"]["alerting"]
    assert list(_receivers(configuration)) == ["second-way"]
    assert configuration["route"]["receiver"] == "second-way"


@pytest.mark.parametrize("which", ["full", "woodpecker", "alone"])
def test_alertmanager_accepts_it(report: dict[str, Any], tmp_path: Path, which: str) -> None:
    configuration = {
        "full": report["services"]["alerting"]["alertmanager"],
        "woodpecker": report["engines"]["woodpecker"]["alerting"],
        "alone": report["alone"]["observability"]["alerting"],
    }[which]
    check_config(configuration, tmp_path)


def check_config(configuration: dict[str, Any], tmp_path: Path) -> None:
    """Have `amtool` check a configuration; before 0.26 there was no `url_file`."""
    amtool = program("amtool", "prometheus-alertmanager")
    said = subprocess.run([amtool, "--version"], capture_output=True, text=True, timeout=30)
    version = (said.stdout + said.stderr).split("version ", 1)[1].split()[0]
    text = json.dumps(configuration)
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 26):
        text = text.replace('"url_file": "', '"url": "http://127.0.0.1')
    file = tmp_path / "alertmanager.yml"
    file.write_text(text)
    argv = [amtool, "check-config", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _written(value: Any) -> Any:
    """What NixOS writes of a value: no attribute that is null."""
    if isinstance(value, dict):
        return {k: _written(v) for k, v in value.items() if v is not None and k != "_module"}
    return [_written(one) for one in value] if isinstance(value, list) else value


def test_prometheus_accepts_it(report: dict[str, Any], tmp_path: Path) -> None:
    alerting = report["services"]["alerting"]
    file = tmp_path / "prometheus.yml"
    document = {
        "global": alerting["globalConfig"],
        "scrape_configs": alerting["scrapeConfigs"],
        "alerting": {"alertmanagers": alerting["alertmanagers"]},
        "rule_files": [str(SUPPORT.parents[1] / "modules/observability/alerts.yml")],
    }
    file.write_text(json.dumps(_written(document)))
    argv = [program("promtool", "prometheus"), "check", "config", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agents_audit_logs_are_watched_each_minute(report: dict[str, Any]) -> None:
    texts = report["services"]["allUnits"]
    unit = texts["agency-audit-watch.service"]
    assert "ReadWritePaths=/var/lib/agency-metrics" in unit
    assert "CapabilityBoundingSet=\n" in unit, "it may do no more than read root's files"
    timer = report["agency"]["unitTexts"]["agency-audit-watch.timer"]
    assert "OnCalendar=minutely" in timer
    exporter = texts["prometheus-node-exporter.service"]
    assert exporter.count("--collector.textfile.directory=/var/lib/agency-metrics") == 1


def test_audit_logs_leave_the_machine_only_if_asked_for(report: dict[str, Any]) -> None:
    """With it on: tests/nix/texts/test_alloy.py."""
    assert "alloy.service" not in report["services"]["allUnits"]
