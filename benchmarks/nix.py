"""Cost of the agency's modules in the evaluation of a host, against the same upstream services.

The time is processor time as Nix counts it, since a wall clock also measures other processes. Runs
alternate, and the least of each counts: anything above it is noise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import yaml

from agency.instance.load import load_instance
from agency.instance.model import Services
from agency.instance.needs import required_secrets
from agency.instance.render import write_rendered
from benchmarks.rows import Row

HOSTS = Path(__file__).resolve().parent / "nix_hosts"
LIMIT = 1.3
RUNS = 3
TIMEOUT_S = 600
TREES = ("nixpkgs", "sops-nix")
AGENT_SECRETS = (
    "ssh-key",
    "ssh-passphrase",
    "mail-password",
    "passwords-client-secret",
    "tailnet-auth-key",
)
RECIPE = """\
services:
  app:
    ports:
      - target: 80
        published: 80
      - target: 443
        published: 443
"""


def missing() -> str | None:
    """Return the missing prerequisite, or None."""
    if shutil.which("nix-instantiate") is None:
        return "there is no nix-instantiate"
    for tree in TREES:
        argv = ["nix-instantiate", "--find-file", tree]
        if subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode != 0:
            return f"<{tree}> does not resolve"
    return None


def _instance(directory: Path) -> None:
    services: dict[str, Any] = {
        field.alias or name: {"enable": True} for name, field in Services.model_fields.items()
    }
    facts = {
        "version": 1,
        "name": "bench",
        "domain": "agency.example.org",
        "operators": ["@alice:agency.example.org"],
        "services": services,
        "agents": {"pm": {"role": "pm"}, "dev-two": {"role": "developer"}},
        "backup": {"repository": "sftp:agency@backup.example.org:/srv/agency"},
        "secrets": {"provider": "sops", "recipients": {"host": "age1" + "q" * 58}},
    }
    (directory / "instance.yaml").write_text(yaml.safe_dump(facts))
    loaded = load_instance(directory, check_recipients=False)
    write_rendered(loaded)
    names = {spec.name for spec in required_secrets(loaded.instance) if spec.stored}
    names |= {f"agent-{agent}-{kind}" for agent in loaded.instance.agents for kind in AGENT_SECRETS}
    (directory / "secrets").mkdir()
    # Evaluation reads names; there is nothing to decrypt.
    lines = (f"{name}: ENC[bench]\n" for name in sorted(names))
    (directory / "secrets/secrets.yaml").write_text("".join(lines))
    (directory / "recipes/traefik").mkdir(parents=True)
    (directory / "recipes/traefik/compose.yml").write_text(RECIPE)


def _evaluate(file: str, *arguments: str) -> float:
    """Evaluate once; return the seconds of processor time."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as stats:
        argv = ["nix-instantiate", "--eval", "--json", *arguments, str(HOSTS / file)]
        told = {"NIX_SHOW_STATS": "1", "NIX_SHOW_STATS_PATH": stats.name}
        result = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, **told},
        )
        if result.returncode != 0:
            raise click.ClickException(f"{file} does not evaluate:\n{result.stderr}")
        return float(json.load(stats)["cpuTime"])


def rows() -> Iterable[Row]:
    """Yield one row; none, and one printed line, where Nix or its trees are missing."""
    lacking = missing()
    if lacking is not None:
        click.echo(f"NIX BENCHMARK SKIPPED: {lacking}", err=True)
        return
    with tempfile.TemporaryDirectory() as place:
        _instance(Path(place))
        pairs = [
            (_evaluate("full.nix", "--argstr", "instance", place), _evaluate("bare.nix"))
            for _ in range(RUNS)
        ]
    yield Row(
        name="nix.evaluate_full_host",
        value=min(full for full, _ in pairs),
        unit="s of processor time",
        baseline="the same upstream services with bare upstream options",
        baseline_value=min(bare for _, bare in pairs),
        limit=LIMIT,
        limit_on="ratio",
    )
