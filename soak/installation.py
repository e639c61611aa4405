"""An installation for a run: Synapse, the control plane, and PostgreSQL where it is asked for."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from agency import ports
from agency.instance.model import Instance
from agency.instance.render import registration
from agency.secrets import names
from agency.spinup.targets.local import synapse
from agency.spinup.targets.local.synapse import SynapsePlan
from soak.journal import Journal
from soak.parts import Part, SoakError

DOMAIN = "agency.example"
BOT = f"@agency:{DOMAIN}"
ALIAS = f"#control:{DOMAIN}"
AGENTS = ("pm", "developer", "tester", "writer")
OPERATORS = ("alice", "bob", "carol")
STRANGERS = ("eve", "mallory")
_TOKENS = (names.MATRIX_AS_TOKEN, names.MATRIX_HS_TOKEN)
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
    free = ports.assign(("homeserver", "control", *AGENTS), {})
    credentials = place / "credentials"
    values = _write_secrets(credentials)
    parts: dict[str, Part] = {}
    database = f"sqlite+aiosqlite:///{place}/control.db"
    homeserver_store = "sqlite"
    if store == "postgresql":
        parts["postgresql"] = _postgresql(place, journal)
        database = f"postgresql+asyncpg://agency@/control?host={place}/pg"
        if importlib.util.find_spec("psycopg2") is not None:
            homeserver_store = "postgresql"
    file = _registration(place, free["control"], values)
    plan = SynapsePlan(DOMAIN, free["homeserver"], place / "synapse", credentials, (file,))
    homeserver = plan.url
    argv = _synapse(plan, homeserver_store)
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
    shared = values[names.MATRIX_REGISTRATION_SHARED_SECRET]
    return Installation(place, parts, config, homeserver, homeserver_store, shared)


def _instance() -> Instance:
    """Make the facts of the instance that the product renders from."""
    agents = {name: {"role": "pm"} for name in AGENTS}
    operators = [f"@{name}:{DOMAIN}" for name in OPERATORS]
    facts = {"version": 1, "name": "soak", "domain": DOMAIN, "secrets": {"provider": "ephemeral"}}
    return Instance.model_validate({**facts, "operators": operators, "agents": agents})


def _write_secrets(place: Path) -> dict[str, str]:
    """Write what the parts read from files, but for the signing key, which Synapse makes."""
    own = [name for name in synapse.SECRETS if name != names.MATRIX_SIGNING_KEY]
    values = {name: secrets.token_hex(24) for name in (*_TOKENS, *own)}
    place.mkdir(mode=0o700)
    for name, value in values.items():
        (place / name).touch(mode=0o600)
        (place / name).write_text(value)
    return values


def _registration(place: Path, port: int, values: dict[str, str]) -> Path:
    file = place / "registration.yaml"
    file.touch(mode=0o600)
    as_token, hs_token = (values[name] for name in _TOKENS)
    url = f"http://127.0.0.1:{port}"
    file.write_bytes(registration(_instance(), url=url, as_token=as_token, hs_token=hs_token))
    return file


def _synapse(plan: SynapsePlan, store: str) -> list[str]:
    """Install the homeserver of a local agency, with the store of the run and room for its load."""
    generous = {"per_second": 1000, "burst_count": 2000}
    changes: dict[str, object] = dict.fromkeys(("rc_admin_redaction", "rc_registration"), generous)
    if store == "postgresql":
        host = str(plan.data.parent / "pg")
        args = {"user": "agency", "dbname": "synapse", "host": host, "cp_min": 1, "cp_max": 5}
        changes["database"] = {"name": "psycopg2", "args": args}
    argv = synapse.install(plan)
    file = plan.data / "changes.yaml"
    file.write_text(yaml.safe_dump(changes))
    argv += ["--config-path", str(file)]
    subprocess.run(
        [*argv, "--generate-keys"],
        check=True,
        capture_output=True,
        cwd=plan.data.parent,
        timeout=120,
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
