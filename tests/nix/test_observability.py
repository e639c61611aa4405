"""Dashboards and alert rules: what they ask for is asked rightly. Needs no Nix."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from debian_programs import program

FOLDER = Path(__file__).resolve().parents[2] / "modules/observability"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
# What each job of the scrape configuration exposes begins so.
EXPORTERS = (
    "ALERTS",
    "agency_audit_",
    "agency_backup_",
    "agency_bridge_",
    "agency_control_",
    "agency_recipes_",
    "alertmanager_",
    "namedprocess_",
    "node_",
    "probe_",
    "sidekiq_",
    "synapse_",
    "up",
)


def _expressions() -> list[str]:
    panels = [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return asked + [rule["expr"] for rule in RULES]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == path.stem
    assert dashboard["title"]
    panels: list[dict[str, Any]] = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    for panel in panels:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["targets"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_no_two_panels_lie_on_each_other() -> None:
    for path in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text())["panels"]:
            box = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(box["x"], box["x"] + box["w"])
                for y in range(box["y"], box["y"] + box["h"])
            }
            assert not cells & taken, (path.stem, panel["title"])
            taken |= cells


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_seen_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith((".", "?"))


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_only_what_is_scraped_is_asked_for() -> None:
    functions = {
        "by",
        "changes",
        "delta",
        "increase",
        "label_replace",
        "or",
        "rate",
        "sum",
        "time",
        "topk",
        "unless",
    }
    for expression in _expressions():
        bare = re.sub(r'\{[^}]*\}|\[[^]]*\]|(by|on) \([^)]*\)|"[^"]*"', "", expression)
        words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare)) - functions
        assert words, expression
        assert all(word.startswith(EXPORTERS) for word in words), (expression, words)


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    promtool = program("promtool", "prometheus")
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60)


def test_prometheus_accepts_the_rules() -> None:
    result = _promtool("check", "rules", str(FOLDER / "alerts.yml"))
    assert result.returncode == 0, result.stderr


def test_the_rules_fire_on_trouble_and_not_without(tmp_path: Path) -> None:
    def fires(alert: str, at: str, **labels: str) -> dict[str, Any]:
        rule = next(rule for rule in RULES if rule["alert"] == alert)
        severity = {"severity": rule["labels"]["severity"]}
        expanded = {
            key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda m: labels.get(m[1], ""), text)
            for key, text in rule["annotations"].items()
        }
        told = [{"exp_labels": labels | severity, "exp_annotations": expanded}]
        return {"alertname": alert, "eval_time": at, "exp_alerts": told}

    def silent(alert: str, at: str) -> dict[str, Any]:
        return {"alertname": alert, "eval_time": at, "exp_alerts": []}

    synapse = {"job": "probe-http", "service": "synapse", "instance": "http://127.0.0.1:8008"}
    labels = ",".join(f'{key}="{value}"' for key, value in synapse.items())
    series = {
        f"probe_success{{{labels}}}": "1x10 0x10",
        'node_systemd_unit_state{name="agency-control.service",state="failed"}': "0x10 1x10",
        'probe_ssl_earliest_cert_expiry{service="edge"}': "2592000x20000",
        'namedprocess_namegroup_num_procs{groupname="agent-pm"}': "10x10 250x10",
        'namedprocess_namegroup_num_procs{groupname="root"}': "900x20",
    }
    runner = {"job": "runner", "instance": "127.0.0.1:8111"}
    of_runner = ",".join(f'{key}="{value}"' for key, value in runner.items())
    bridge = {"job": "bridge", "instance": "127.0.0.1:8112"}
    of_bridge = ",".join(f'{key}="{value}"' for key, value in bridge.items())
    series |= {
        f"agency_recipes_queue_depth{{{of_runner}}}": "3x30",
        f'agency_recipes_runs{{state="running",{of_runner}}}': "2x10 0x20",
        f'agency_recipes_ended_total{{outcome="error",{of_runner}}}': "0x10 9x20",
        f"agency_recipes_engine_faults_total{{{of_runner}}}": "0x10 9x20",
        f"agency_bridge_last_look_age_seconds{{{of_bridge}}}": "20x10 700x20",
    }
    unit = {"name": "agency-control.service", "state": "failed"}
    cases = [
        silent("ServiceDoesNotAnswer", "10m"),
        silent("ServiceDoesNotAnswer", "12m"),
        fires("ServiceDoesNotAnswer", "15m", **synapse),
        silent("UnitFailed", "10m"),
        fires("UnitFailed", "13m", **unit),
        silent("CertificateEnds", "15d"),
        fires("CertificateEnds", "17d", service="edge"),
        silent("AgentHasManyProcesses", "10m"),
        fires("AgentHasManyProcesses", "20m", groupname="agent-pm"),
        silent("RecipeRunsWait", "10m"),
        fires("RecipeRunsWait", "25m", **runner),
        silent("RecipeRunsEndInErrors", "10m"),
        fires("RecipeRunsEndInErrors", "15m", outcome="error", **runner),
        silent("RecipeEngineFaults", "10m"),
        fires("RecipeEngineFaults", "15m", **runner),
        silent("RecipeForgeNotSeen", "10m"),
        fires("RecipeForgeNotSeen", "20m", **bridge),
    ]
    # Far apart, so that a month is few samples.
    days = [one for one in cases if one["eval_time"].endswith("d")]
    minutes = [one for one in cases if one not in days]
    for interval, evaluated, group in (("1m", "1m", minutes), ("5m", "1h", days)):
        test = {
            "interval": interval,
            "input_series": [{"series": name, "values": v} for name, v in series.items()],
            "alert_rule_test": group,
        }
        file = tmp_path / f"tests-{interval}.yml"
        content = {
            "rule_files": [str(FOLDER / "alerts.yml")],
            "evaluation_interval": evaluated,
            "tests": [test],
        }
        file.write_text(yaml.safe_dump(content))
        result = _promtool("test", "rules", str(file))
        assert result.returncode == 0, result.stdout + result.stderr
