"""An installation for a run: Synapse, the control plane, and PostgreSQL where it is asked for."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from agency import ports
from soak.journal import Journal
from soak.parts import Part, SoakError

DOMAIN = "agency.example"
BOT = f"@agency:{DOMAIN}"
ALIAS = f"#control:{DOMAIN}"
AGENTS = ("pm", "developer", "tester", "writer")
OPERATORS = ("alice", "bob", "carol")
STRANGERS = ("eve", "mallory")
_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts of a run, in the order in which they start, and what clients need to know."""

    place: Path
    parts: dict[str, Part]
    config: Path
    homeserver: str
    homeserver_store: str
    shared_secret: str


def install(place: Path, store: str, journal: Journal) -> Installation:
    """Write every configuration; nothing runs yet."""
    free = _ports()
    tokens = {name: secrets.token_hex(24) for name in ("matrix-as-token", "matrix-hs-token")}
    credentials = place / "credentials"
    credentials.mkdir(mode=0o700)
    for name, value in tokens.items():
        (credentials / name).touch(mode=0o600)
        (credentials / name).write_text(value)
    parts: dict[str, Part] = {}
    database = f"sqlite+aiosqlite:///{place}/control.db"
    homeserver_store = "sqlite"
    if store == "postgresql":
        parts["postgresql"] = _postgresql(place, journal)
        database = f"postgresql+asyncpg://agency@/control?host={place}/pg"
        if importlib.util.find_spec("psycopg2") is not None:
            homeserver_store = "postgresql"
    shared = secrets.token_hex(24)
    registration = _registration(place, free["control"], tokens)
    homeserver = f"http://127.0.0.1:{free['homeserver']}"
    argv = _synapse(place, free["homeserver"], registration, shared, homeserver_store)
    plain = {"PATH": os.environ["PATH"], "HOME": str(place)}
    parts["synapse"] = Part(
        "synapse", argv, plain, place, journal, url=f"{homeserver}/_matrix/client/versions"
    )
    config = _control(place, free, homeserver, database)
    parts["control"] = Part(
        "control",
        [sys.executable, "-m", "agency", "control", "run", "--config", str(config)],
        {**plain, "CREDENTIALS_DIRECTORY": str(credentials)},
        place,
        journal,
        url=f"http://127.0.0.1:{free['control']}/ready",
    )
    return Installation(place, parts, config, homeserver, homeserver_store, shared)


def _ports() -> dict[str, int]:
    """Choose ports below the kernel's ephemeral range, where no client's connection takes one."""
    names = ("homeserver", "control", *AGENTS)
    found = (port for port in random.sample(range(12_000, 20_000), 500) if ports.is_free(port))
    return dict(zip(names, found, strict=False))


def _registration(place: Path, port: int, tokens: dict[str, str]) -> Path:
    file = place / "registration.yaml"
    users = [{"exclusive": True, "regex": f"@agen(cy|t-.*):{DOMAIN}"}]
    aliases = [{"exclusive": True, "regex": ALIAS}]
    facts = {
        "id": "agency",
        "url": f"http://127.0.0.1:{port}",
        "as_token": tokens["matrix-as-token"],
        "hs_token": tokens["matrix-hs-token"],
        "sender_localpart": "agency",
        "rate_limited": False,
        "namespaces": {"users": users, "aliases": aliases, "rooms": []},
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(facts))
    return file


def _synapse(place: Path, port: int, registration: Path, shared: str, store: str) -> list[str]:
    generous = {"per_second": 1000, "burst_count": 2000}
    data = place / "synapse"
    data.mkdir(mode=0o700)
    log = {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"level": "WARNING", "handlers": ["console"]},
        "disable_existing_loggers": False,
    }
    args: dict[str, object] = {"database": str(data / "homeserver.db")}
    if store == "postgresql":
        host = str(place / "pg")
        args = {"user": "agency", "dbname": "synapse", "host": host, "cp_min": 1, "cp_max": 5}
    resources = [{"names": ["client"], "compress": False}]
    listener = {"port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False}
    config = {
        "server_name": DOMAIN,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(data / "synapse.pid"),
        "listeners": [{**listener, "resources": resources}],
        "database": {"name": {"postgresql": "psycopg2"}.get(store, "sqlite3"), "args": args},
        "log_config": str(data / "log.yaml"),
        "media_store_path": str(data / "media"),
        "signing_key_path": str(data / "signing.key"),
        "app_service_config_files": [str(registration)],
        "enable_registration": False,
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "report_stats": False,
        "bcrypt_rounds": 4,
        "presence": {"enabled": False},
        "registration_shared_secret": shared,
        "macaroon_secret_key": secrets.token_hex(24),
        "form_secret": secrets.token_hex(24),
        **dict.fromkeys(("rc_message", "rc_admin_redaction", "rc_registration"), generous),
        "rc_login": {"address": generous, "account": generous},
        "rc_joins": {"local": generous, "remote": generous},
        "rc_invites": {"per_room": generous, "per_user": generous},
    }
    file = data / "homeserver.yaml"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    (data / "log.yaml").write_text(yaml.safe_dump(log))
    argv = [sys.executable, "-m", "synapse.app.homeserver", "--config-path", str(file)]
    subprocess.run(
        [*argv, "--generate-keys"], check=True, capture_output=True, cwd=place, timeout=120
    )
    return argv


def _control(place: Path, free: dict[str, int], homeserver: str, database: str) -> Path:
    file = place / "control.json"
    agents = [
        {
            "name": name,
            "role": "pm",
            "matrix_id": f"@agent-{name}:{DOMAIN}",
            "port": free[name],
        }
        for name in AGENTS
    ]
    config = {
        "instance": "soak",
        "domain": DOMAIN,
        "homeserver_url": homeserver,
        "listen_port": free["control"],
        "bot_id": BOT,
        "control_room_alias": ALIAS,
        "operators": [f"@{name}:{DOMAIN}" for name in OPERATORS],
        "agents": agents,
        "database_url": database,
        "state_dir": str(place / "state"),
        # A loaded machine is no fault of the product: only what is done to the parts counts.
        "limits": {"agent_start_timeout_s": 60, "agent_stop_timeout_s": 20, "send_attempts": 200},
    }
    file.write_text(json.dumps(config))
    return file


def _as_postgres(argv: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return argv
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", *argv]


def _postgresql(place: Path, journal: Journal) -> Part:
    """Make a server on a socket in a directory of its own, with a database for each part."""
    if not _BINARIES:
        raise SoakError("PostgreSQL's server is not installed: apt-get install postgresql")
    home = place / "pg"
    home.mkdir(mode=0o755)
    place.chmod(0o711)
    if os.geteuid() == 0:
        shutil.chown(home, "nobody", "nogroup")
    data = home / "data"
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}

    def run(program: str, *args: str, give: str = "") -> None:
        argv = _as_postgres([str(_BINARIES[-1] / program), *args])
        subprocess.run(
            argv,
            check=True,
            capture_output=True,
            env=env,
            cwd=home,
            input=give.encode(),
            timeout=60,
        )

    run("initdb", "-D", str(data), "-U", "agency", "-A", "trust", "--locale=C", "-E", "UTF8", "-N")
    for name in ("control", "synapse"):
        give = f"CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';\n"
        run("postgres", "--single", "-D", str(data), "postgres", give=give)
    status = data / "postmaster.pid"

    def ready() -> bool:
        return status.exists() and status.read_text().rstrip().endswith("ready")

    argv = [str(_BINARIES[-1] / "postgres"), "-D", str(data), "-k", str(home)]
    argv = _as_postgres([*argv, "-c", "listen_addresses="])
    return Part(
        "postgresql", argv, env, place, journal, ready=ready, term=signal.SIGINT, group=True
    )
