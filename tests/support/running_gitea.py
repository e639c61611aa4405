"""A Gitea of a test's own on loopback, as set-up built it, with an administrator and tokens."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from as_nobody import AS_ROOT, as_nobody
from binding import free_port

PROGRAM = Path(__file__).parents[2] / ".tools" / "bin" / "gitea"
_ADMIN = "forge-admin"

_SETTINGS = """\
APP_NAME = forge of a test
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {place}

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
OFFLINE_MODE = true
DISABLE_SSH = true

[database]
DB_TYPE = sqlite3
PATH = {place}/gitea.db

[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2$1000$50

[webhook]
ALLOWED_HOST_LIST = loopback

[log]
LEVEL = Warn
MODE = console

[cron]
ENABLED = false
"""


@dataclass
class Server:
    """Gitea's process; stopped and started again, it is the same forge at the same address."""

    url: str
    argv: list[str]
    env: dict[str, str]
    place: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return when it answers."""
        command = [*self.argv, "web"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.env, cwd=self.place, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 90
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as its unit does."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    @property
    def _log(self) -> Path:
        return self.place / "log"

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/v1/version", timeout=2).ok
        except requests.RequestException:
            return False


@dataclass(frozen=True)
class Gitea:
    """A running Gitea; `call` acts as its administrator, `person` makes others and their tokens."""

    token: str
    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    def call(self, method: str, path: str, body: Any = None, *, basic: Any = None) -> Any:
        headers = {} if basic else {"Authorization": f"token {self.token}"}
        answer = requests.request(
            method, f"{self.url}/api/v1{path}", json=body, headers=headers, auth=basic, timeout=30
        )
        assert answer.ok, f"{method} {path}: HTTP {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def person(self, name: str, scopes: Sequence[str] = ("all",)) -> str:
        """Make an account; returns a token of its own."""
        password = secrets.token_urlsafe(16)
        account = {"username": name, "email": f"{name}@forge.example", "password": password}
        self.call("POST", "/admin/users", account | {"must_change_password": False})
        wish = {"name": secrets.token_hex(4), "scopes": list(scopes)}
        made = self.call("POST", f"/users/{name}/tokens", wish, basic=(name, password))
        return str(made["sha1"])


@contextmanager
def running() -> Iterator[Gitea]:
    """Run a Gitea; ends it, and removes what it kept."""
    place = Path(tempfile.mkdtemp(prefix="gitea"))
    place.chmod(0o755)
    program = place / "gitea"
    shutil.copyfile(PROGRAM, program)  # the checkout may be where nobody else may look
    program.chmod(0o755)
    port = free_port()
    user = "nobody" if AS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
    settings = place / "app.ini"
    settings.write_text(_SETTINGS.format(user=user, place=place / "data", port=port))
    (place / "data").mkdir()
    if AS_ROOT:
        for path in (place / "data", settings):
            shutil.chown(path, "nobody", "nogroup")
    env = {"PATH": os.environ["PATH"], "HOME": str(place / "data"), "USER": user}
    argv = as_nobody([str(program), "--config", str(settings)])
    server = Server(f"http://127.0.0.1:{port}", argv, env, place)
    try:
        server.start()
        yield Gitea(_administrator(argv, env, place), server)
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


def _administrator(argv: list[str], env: dict[str, str], place: Path) -> str:
    """Make the administrator; returns its token, which Gitea prints alone on the last line."""
    account = ["--username", _ADMIN, "--email", "admin@forge.example", "--random-password"]
    for words in (
        ["create", "--admin", "--must-change-password=false", *account],
        ["generate-access-token", "--username", _ADMIN, "--scopes", "all", "--raw"],
    ):
        done = subprocess.run(
            [*argv, "admin", "user", *words],
            env=env,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
