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
from agency.recipes.engine.serving import TEARDOWN_S
from agency.recipes.stages.cgroup import DEFAULT_LIMITS


def test_the_programs_read_what_the_host_writes(report: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipes.json"
    path.write_text(report["agency"]["recipes"])
    config = read_config(path)
    assert config.runner.through == f"https://127.0.0.1:{SERVICE_PORTS['traefik']}"
    assert config.ports.runner == SERVICE_PORTS["runner"]
    assert config.runner.tests is None, "this instance brings no suites"
    assert config.zone == "ci.agency.example.org"
    assert config.state == Path("/var/lib/agency-recipes")


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


pytestmark = pytest.mark.usefixtures("snapshot")
