"""Homeserver of a local agency: the real Synapse on SQLite, reachable on loopback only."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from agency.errors import PrerequisiteError
from agency.secrets import names

# What Synapse reads from files: the setting, and the name of the secret in its directory.
_SECRET_FILES = {
    "registration_shared_secret_path": names.MATRIX_REGISTRATION_SHARED_SECRET,
    "macaroon_secret_key_path": names.MATRIX_MACAROON_SECRET_KEY,
    "form_secret_path": names.MATRIX_FORM_SECRET,
    "signing_key_path": names.MATRIX_SIGNING_KEY,
}
SECRETS = tuple(_SECRET_FILES.values())  # must be in `SynapsePlan.credentials`
_LOG = {
    "version": 1,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
    "loggers": {"synapse.app": {"level": "INFO"}},
    "disable_existing_loggers": False,
}


@dataclass(frozen=True, slots=True)
class SynapsePlan:
    """Place of one Synapse: `data` is its own directory, `credentials` holds its secrets.

    With `socket`, a name in `data`, it listens on that unix socket instead of `port`, which is
    where a relay answers for it; `data` must be its working directory.
    """

    domain: str
    port: int
    data: Path
    credentials: Path
    registrations: tuple[Path, ...]
    socket: str | None = None

    @property
    def url(self) -> str:
        """Base URL of the client-server API."""
        return f"http://127.0.0.1:{self.port}"


def homeserver_config(plan: SynapsePlan) -> dict[str, object]:
    """Make homeserver.yaml as data.

    No federation, no open registration, no look-ups of other servers: it runs where there is no
    network. Rate limits are those of one small team that tries things out, not of the public.
    """
    generous = {"per_second": 1000, "burst_count": 2000}
    return {
        "server_name": plan.domain,
        "public_baseurl": f"{plan.url}/",
        "pid_file": str(plan.data / "synapse.pid"),
        "listeners": [
            {
                **_place(plan),
                "type": "http",
                # Synapse needs an address of each client; the relay tells it, whatever clients say.
                "x_forwarded": plan.socket is not None,
                "resources": [{"names": ["client"], "compress": False}],
            }
        ],
        "database": {
            "name": "sqlite3",
            "args": {"database": str(plan.data / "homeserver.db")},
        },
        "log_config": str(plan.data / "log.yaml"),
        "media_store_path": str(plan.data / "media"),
        "app_service_config_files": [str(path) for path in plan.registrations],
        "use_appservice_legacy_authorization": False,
        "enable_registration": False,
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "report_stats": False,
        # Passwords here are random and long: what slows guessing down would only slow log-ins.
        "bcrypt_rounds": 4,
        "presence": {"enabled": False},
        "url_preview_enabled": False,
        "rc_message": generous,
        "rc_login": {"address": generous, "account": generous},
        "rc_joins": {"local": generous, "remote": generous},
        "rc_invites": {"per_room": generous, "per_user": generous},
        **{key: str(plan.credentials / name) for key, name in _SECRET_FILES.items()},
    }


def _place(plan: SynapsePlan) -> dict[str, object]:
    if plan.socket is not None:
        return {"path": plan.socket, "mode": 0o600}
    return {"port": plan.port, "bind_addresses": ["127.0.0.1"], "tls": False}


def forget_socket(plan: SynapsePlan) -> None:
    """Remove the unix socket, and its lock, of a Synapse that was killed.

    Twisted takes the lock for held if another process has got the killed one's pid meanwhile.
    """
    if plan.socket is not None:
        for name in (plan.socket, f"{plan.socket}.lock"):
            (plan.data / name).unlink(missing_ok=True)


def install(plan: SynapsePlan) -> list[str]:
    """Write the configuration and return the argv that runs this Synapse in the foreground.

    Raises:
        PrerequisiteError: Synapse is not installed beside the agency.
    """
    if importlib.util.find_spec("synapse") is None:
        raise PrerequisiteError(
            "Synapse is not installed in this Python",
            where=sys.executable,
            hint="install the extra 'local' (`make spinup` does), or use another target",
        )
    plan.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = plan.data / "homeserver.yaml"
    config.write_text(yaml.safe_dump(homeserver_config(plan)))
    (plan.data / "log.yaml").write_text(yaml.safe_dump(_LOG))
    return [sys.executable, "-m", "synapse.app.homeserver", "--config-path", str(config)]
