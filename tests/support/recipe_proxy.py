"""Traefik on the swarm of the tests: the real program, deployed by the product's reconciler.

It serves the wildcard certificate of ZONE, and in further zones one of each fault. The override
beside the stand-in of abra alone knows where the test's Docker Engine is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from docker_engine import Engine
from recipe_certificates import DAY, Issued, authority

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# In the network of the engine. As on a host, they are others than the recipe publishes.
HTTP_PORT, HTTPS_PORT = 8481, 8443
ZONE = "ci.test"
HOST = f"traefik.{ZONE}"
STACK = HOST.replace(".", "_")
EXPIRED, STRANGER, ELSEWHERE = "expired.test", "stranger.test", "wrong.test"
ENVIRONMENT = f"""\
TYPE=traefik
DOMAIN={HOST}
LOG_LEVEL=WARN
COMPOSE_FILE="compose.yml:compose.wildcard.yml"
WILDCARDS_ENABLED=1
SECRET_WILDCARD_CERT_VERSION=v1
SECRET_WILDCARD_KEY_VERSION=v1
"""


def ca_file(engine: Engine) -> Path:
    """The file with the authority that clients of the proxy trust."""
    return engine.place / "proxy" / "ca.pem"


def app_authority(engine: Engine) -> Path:
    """The file with the authority of apps that end TLS themselves."""
    return engine.place / "proxy" / "ca-of-apps.pem"


def start_proxy(engine: Engine) -> None:
    """Deploy Traefik, and wait until it answers."""
    place = engine.place / "proxy"
    for name in ("bin", "credentials"):
        (place / name).mkdir(parents=True)
    ours = authority("the authority of the proxy")
    ca_file(engine).write_text(ours.chain)
    good = ours.issue(f"*.{ZONE}")
    (place / "credentials" / "wildcard-certificate").write_text(good.chain)
    (place / "credentials" / "wildcard-certificate-key").write_text(good.key_pem)
    (place / "traefik.env").write_text(ENVIRONMENT)
    _stand_in(engine, place, ours)
    shutil.copytree(RECIPES / "traefik" / "recipe", place / "recipe", copy_function=shutil.copy)
    compose = place / "recipe" / "compose.yml"
    text = compose.read_text().replace("published: 80,", f"published: {HTTP_PORT},")
    compose.write_text(text.replace("published: 443,", f"published: {HTTPS_PORT},"))
    settings = {
        "docker_url": engine.url,
        "domain": HOST,
        "env_file": str(place / "traefik.env"),
        "recipe_source": str(place / "recipe"),
    }
    (place / "traefik.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "agency", "reconcile", "traefik"]
    done = subprocess.run(
        [*command, f"--config={place / 'traefik.json'}"],
        env={
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(place),
            "CREDENTIALS_DIRECTORY": str(place / "credentials"),
            "RUNTIME_DIRECTORY": str(place),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _stand_in(engine: Engine, place: Path, ours: Issued) -> None:
    abra = place / "bin" / "abra"
    shutil.copy(RECIPES / "abra_stand_in.py", abra)
    abra.chmod(0o755)
    (place / "faults.yml").write_text(yaml.safe_dump(_faults(ours)))
    override = {
        "version": "3.8",
        "services": {
            "app": {
                "volumes": [f"{engine.socket}:/var/run/docker.sock:ro"],
                "configs": [{"source": "faults", "target": "/etc/traefik/dynamic/faults.yml"}],
                "deploy": {"endpoint_mode": "dnsrr"},
            }
        },
        "configs": {"faults": {"file": str(place / "faults.yml")}},
    }
    (place / "bin" / "override.yml").write_text(yaml.safe_dump(override))


def _faults(ours: Issued) -> dict[str, object]:
    """Traefik's words for the faulty certificates; the one for another name is the default."""
    expired = ours.issue(f"*.{EXPIRED}", until=-DAY)
    strange = authority("a stranger").issue(f"*.{STRANGER}")
    other = ours.issue("*.elsewhere.test")
    return {
        "tls": {
            "certificates": [_pair(expired), _pair(strange)],
            "stores": {"default": {"defaultCertificate": _pair(other)}},
        }
    }


def _pair(issued: Issued) -> dict[str, str]:
    return {"certFile": issued.chain, "keyFile": issued.key_pem}


def end_tls_in_app(engine: Engine, recipe: Path) -> None:
    """Give the recipe tls-passthrough its certificate, of an authority of its own."""
    theirs = authority("the authority of the app")
    app_authority(engine).write_text(ca_file(engine).read_text() + theirs.chain)
    own = theirs.issue(f"*.{ZONE}")
    (recipe / "tls.pem").write_text(own.chain + own.key_pem)
