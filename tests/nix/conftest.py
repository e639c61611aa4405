"""The Nix suite: real modules in the real NixOS, from as few evaluations as can be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agency import naming
from agency.instance.load import load_instance
from agency.instance.making.flake import write_flake
from agency.instance.needs import required_secrets
from agency.instance.render import write_rendered
from agency.secrets.classes import SecretClass
from agency.unwritten import FEATURES

ROOT = Path(__file__).resolve().parents[2]
EVALUATION_TIMEOUT_S = 1500
SKIPPED = pytest.StashKey[str]()
NIX_SITE = "https://nixos.org/download"
TREES = ("nixpkgs", "sops-nix")
EVALUATED = (
    "default.nix",
    "flake.nix",
    "hosts",
    "instance",
    "modules",
    "packages",
    "pyscripts",
    "pyproject.toml",
    "secrets",
    "setup.py",
    "LICENSE",
    "README.md",
    "tests/guest",
    "tests/nix",
)
SERVICES = (
    "matrix",
    "element",
    "edge",
    "gitlab",
    "k3s",
    "swarm",
    "traefik",
    "ci",
    "bridge",
    "dashboard",
    "observability",
)


def missing_for_nix() -> str | None:
    """What the suite lacks on this machine, in one line, or None."""
    if shutil.which("nix-instantiate") is None:
        return (
            f"Nix is not installed (there is no nix-instantiate); get it from {NIX_SITE}, "
            f"and the trees: {_pinned()}"
        )
    for tree in TREES:
        argv = ["nix-instantiate", "--find-file", tree]
        if subprocess.run(argv, capture_output=True, timeout=60).returncode != 0:
            return (
                f"<{tree}> does not resolve: set NIX_PATH=nixpkgs=DIRECTORY:sops-nix=DIRECTORY, or "
                f"nix-path in nix.conf; the trees that flake.lock pins: {_pinned()}"
            )
    return None


def _pinned() -> str:
    """The trees, each at the revision that the flake locks."""
    nodes = json.loads((ROOT / "flake.lock").read_text())["nodes"]
    sources = {tree: nodes[tree]["locked"] for tree in TREES}
    return ", ".join(
        f"{tree} is github.com/{one['owner']}/{one['repo']} at {one['rev']}"
        for tree, one in sources.items()
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs Nix where it is missing, and keep the one line that says so."""
    ours = [one for one in items if "snapshot" in getattr(one, "fixturenames", ())]
    for one in ours:
        one.add_marker(pytest.mark.timeout(EVALUATION_TIMEOUT_S + 60))
    missing = missing_for_nix() if ours else None
    if missing is None:
        return
    config.stash[SKIPPED] = f"NIX SUITE SKIPPED, {len(ours)} tests: {missing}"
    items[:] = [one for one in items if one not in ours]
    config.hook.pytest_deselected(items=ours)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say it where nobody overlooks it."""
    line = config.stash.get(SKIPPED, None)
    if line:
        terminalreporter.write_line(line, red=True, bold=True)


def nix_eval(file: Path, *arguments: str) -> Any:
    """The value of a Nix file as JSON; the whole error message where it has none."""
    argv = ["nix-instantiate", "--eval", "--strict", "--json", *arguments, str(file)]
    # A large heap from the start: collecting garbage would be half of the time.
    environment = {"GC_INITIAL_HEAP_SIZE": "3G"} | os.environ
    result = subprocess.run(
        argv, capture_output=True, text=True, timeout=EVALUATION_TIMEOUT_S, env=environment
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Any]:
    """`nix_eval`, for tests that cannot import this file."""
    return nix_eval


def instance_facts(**changes: Any) -> dict[str, Any]:
    """The content of an instance.yaml that runs every service."""
    facts = {
        "version": 1,
        "name": "acme",
        "domain": "agency.example.org",
        "operators": ["@alice:agency.example.org"],
        "services": {name: {"enable": True} for name in SERVICES},
        "agents": {"pm": {"role": "pm"}, "dev-two": {"role": "developer"}},
        "secrets": {"provider": "sops", "recipients": {"host": "age1" + "q" * 58}},
        "preview": list(FEATURES),
        "alerts": {
            "mail": {
                "smarthost": "mail.example.org:587",
                "from": "agency@example.org",
                "to": ["ops@example.org", "night@example.org"],
                "username": "agency@example.org",
            },
            "webhook": True,
        },
        "backup": {"repository": "sftp:agency@backup.example.org:/srv/agency"},
    }
    return facts | changes


# What of the proxy's recipe the modules look at.
RECIPE = """\
services:
  app:
    image: "traefik:v3.6.2"
    ports:
      - target: 80
        published: 80
        mode: host
      - target: 443
        published: 443
        mode: host
"""


GITEA = {"kind": "gitea", "url": "https://git.example.org"}


def services_with_engine(engine: str) -> dict[str, Any]:
    """Every service, with this engine of recipe CI."""
    services: dict[str, Any] = {name: {"enable": True} for name in SERVICES}
    services |= {"ci": {"enable": True, "engine": engine, "maxTests": 3}}
    if engine == "gitea-actions":  # a part of a forge that is no GitLab
        del services["gitlab"]
    return services


@pytest.fixture(scope="session")
def with_engine() -> Callable[[str], dict[str, Any]]:
    """`services_with_engine`, for tests that cannot import this file."""
    return services_with_engine


LONGEST_NAME = "a" * naming.MAX_AGENT_NAME
AGENT_SECRETS = (
    "ssh-key",
    "ssh-passphrase",
    "mail-password",
    "passwords-client-secret",
    "tailnet-auth-key",
)


@pytest.fixture(scope="session")
def new_instance(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a rendered instance whose encrypted file has every secret it needs."""

    def make(label: str, /, **changes: Any) -> Path:
        directory = tmp_path_factory.mktemp(label)
        (directory / "instance.yaml").write_text(yaml.safe_dump(instance_facts(**changes)))
        loaded = load_instance(directory, check_recipients=False)
        write_rendered(loaded)
        stored = {SecretClass.A1, SecretClass.A2}
        names = {one.name for one in required_secrets(loaded.instance) if one.cls in stored}
        for agent in loaded.instance.agents:
            names |= {f"agent-{agent}-{kind}" for kind in AGENT_SECRETS}
        (directory / "secrets").mkdir()
        lines = (f"{one}: ENC[AES256_GCM,data:{_canary(one)}]\n" for one in sorted(names))
        (directory / "secrets/secrets.yaml").write_text("".join(lines))
        (directory / "recipes/traefik").mkdir(parents=True)
        (directory / "recipes/traefik/compose.yml").write_text(RECIPE)
        return directory

    return make


def _canary(name: str) -> str:
    """What stands for the value of a secret: found anywhere else, it has leaked."""
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="session")
def canary() -> Callable[[str], str]:
    """The value of a secret in every instance of `new_instance`, by its name."""
    return _canary


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is evaluated, so that an edit meanwhile does not show as a difference."""
    copy = tmp_path_factory.mktemp("snapshot")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in EVALUATED:
        source, target = ROOT / part, copy / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return copy


@pytest.fixture(scope="session")
def report(new_instance: Callable[..., Path], snapshot: Path) -> dict[str, Any]:
    """What report.nix says, evaluated once for the whole session."""
    stale = new_instance("stale")
    with (stale / "instance.yaml").open("a") as handle:
        handle.write("# changed after it was rendered\n")
    unrendered = new_instance("unrendered")
    shutil.rmtree(unrendered / "generated")
    other = new_instance(
        "other",
        name="other",
        domain="other.example.net",
        operators=["@bob:other.example.net"],
        agents={name: {"role": "pm"} for name in ("pm", "a-first", "zeta", LONGEST_NAME)},
    )
    (other / "host.nix").write_text('{ agency.operatorKeys = [ "ssh-ed25519 AAAA bob" ]; }\n')
    small = {"matrix": {"enable": True}}
    made = new_instance("made", services=small)
    write_flake(made)
    host = made / "host.nix"
    # Filled in by an operator, as docs/install.md says.
    host.write_text(host.read_text().replace('# "ssh-ed25519 AAAA...', '"ssh-ed25519 AAAA...'))
    instances = {
        "made": made,
        "small": new_instance("small", services=small),
        "example": new_instance(
            "example", domain="agency.example", operators=["@alice:agency.example"]
        ),
        "full": new_instance("full"),
        "stale": stale,
        "unrendered": unrendered,
        "ephemeral": new_instance("ephemeral", secrets={"provider": "ephemeral"}),
        "drone": new_instance("drone", services=services_with_engine("drone")),
        "woodpecker": new_instance(
            "woodpecker", services=services_with_engine("woodpecker"), alerts={}
        ),
        "actions": new_instance(
            "actions", services=services_with_engine("gitea-actions"), forge=GITEA
        ),
        "other": other,
        "unpreviewed": new_instance("unpreviewed", preview=[]),
    }
    attrs = " ".join(f'{name} = "{path}";' for name, path in instances.items())
    found: dict[str, Any] = nix_eval(
        snapshot / "tests/nix/report.nix", "--arg", "instances", f"{{ {attrs} }}"
    )
    return found
