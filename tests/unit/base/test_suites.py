"""What a suite does that cannot run: say why, and fail where it was told that it must run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKER = "tests/integration/reconcile/test_swarm_init.py"


def suite(tmp_path, *arguments, **environment):
    """pytest on a machine with no program but its own."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        argv,
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(("required", "status"), [({}, 0), ({"AGENCY_REQUIRE_DOCKER": "1"}, 1)])
def test_without_docker_its_suite_passes_only_where_it_need_not_run(required, status, tmp_path):
    done = suite(tmp_path, "-m", "docker", DOCKER, **required)
    assert done.returncode == status, done.stdout
    assert "no real Docker Engine: " in done.stdout


@pytest.mark.parametrize(("required", "status"), [({}, 0), ({"AGENCY_REQUIRE_PAGES": "1"}, 1)])
def test_without_a_browser_its_suite_passes_only_where_it_need_not_run(required, status, tmp_path):
    done = suite(tmp_path, "-m", "pages", "tests/integration/pages", **required)
    assert done.returncode == status, done.stdout
    assert "no Chromium: " in done.stdout


def test_make_requires_what_it_installs():
    rules = (ROOT / "Makefile").read_text()
    for name in (
        'DOCKER=1 pytest .*-m "docker',
        "GUEST=1 pytest .*-m guest",
        "PAGES=1 pytest .*-m pages",
    ):
        assert re.search(f"AGENCY_REQUIRE_{name}", rules)


def test_without_nix_it_is_said_how_to_get_what_the_suite_needs(tmp_path):
    done = suite(tmp_path, "tests/nix/test_options.py")
    assert done.returncode == 0, done.stdout
    (line,) = [one for one in done.stdout.splitlines() if "NIX SUITE SKIPPED" in one]
    assert "https://nixos.org/download" in line
    for rev in revisions():
        assert rev in line


def test_without_nixpkgs_it_is_said_which_and_where(tmp_path):
    program = tmp_path / "nix-instantiate"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    done = suite(tmp_path, "tests/nix/test_options.py")
    (line,) = [one for one in done.stdout.splitlines() if "NIX SUITE SKIPPED" in one]
    assert "NIX_PATH=nixpkgs=" in line
    for rev in revisions():
        assert rev in line


def revisions():
    nodes = json.loads((ROOT / "flake.lock").read_text())["nodes"]
    return [nodes[name]["locked"]["rev"] for name in ("nixpkgs", "sops-nix")]
