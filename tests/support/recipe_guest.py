"""Guest with recipe CI as the export has it, and a forge of the guest's own that its bridge reads.

    Gitea, nginx before it ─▶ accounts, token ─▶ the run's secrets ─▶ activation with the part
    people: from this machine, by a forwarded port        units: https://forge.DOMAIN, in the guest

What a spin-up with the part `recipes` does not bring is what a run needs beside it: git's way to
fetch, restic, a browser, pytest and Playwright. abra is the stand-in.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import running_gitea
from debian_nginx import find_nginx
from driving import ROOT
from recipe_agency import BOT, MAINTAINER, STRANGER, Repository
from recipe_bench import Bench
from recipe_images import NGINX, rootfs
from recipe_supplies import image, make_supplies
from running_gitea import Gitea, Server

from agency import naming
from agency.archive import archive
from agency.guests import INSTANCE, PORTABLE, PREFIX, PROGRAM, install_debs, provision
from agency.guests.images.debs import hold_debs
from agency.guests.images.prepare import Materials
from agency.guests.images.recipe import default_recipe
from agency.guests.machines.machine import Guest, GuestFile
from agency.instance.load import load_instance
from agency.instance.model import Instance
from agency.secrets import (
    FORGE_BOT_TOKEN,
    WILDCARD_CERTIFICATE,
    WILDCARD_CERTIFICATE_KEY,
    SecretValue,
)
from agency.spinup.targets.incus.parts.edge.certificate import Certificates, make_certificates
from agency.spinup.targets.incus.parts.recipes import RecipesPart
from agency.spinup.targets.incus.secrets import RunSecrets

DOMAIN = "agency.example"
FORGE, DASHBOARD = f"forge.{DOMAIN}", f"dashboard.{DOMAIN}"
RECIPE, PROJECT = "static-site", "team/static-site"
RUNNER, BRIDGE = "agency-runner.service", "agency-bridge.service"
STATE = PurePosixPath("/var/lib/agency-recipes")
CONFIG = PurePosixPath("/etc/agency/recipes.json")
OWN = PurePosixPath("/etc/agency-test")  # what nobody but this test brings
AUTHORITY = OWN / "authority.pem"
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
# git fetches over HTTPS by them, restic keeps backups, Chromium draws pages with letters.
UNPACKED = (
    *("libcurl3-gnutls", "libnghttp2-14", "librtmp1", "libssh2-1", "libpsl5", "restic"),
    *("chromium-headless-shell", "chromium-common", "libnss3-tools", "fonts-dejavu-core"),
    *("libnss3", "libnspr4", "libfontconfig1", "fontconfig-config", "libfreetype6"),
    *("libasound2", "libatk1.0-0", "libatspi2.0-0", "libdav1d6", "libdouble-conversion3"),
    *("libdrm2", "libflac12", "libgbm1", "libglib2.0-0", "libgraphite2-3", "libharfbuzz0b"),
    *("libharfbuzz-subset0", "libjpeg62-turbo", "liblcms2-2", "libminizip1", "libopenh264-7"),
    *("libopenjp2-7", "libopus0", "libpng16-16", "libpulse0", "libsndfile1", "libvorbis0a"),
    *("libvorbisenc2", "libogg0", "libmp3lame0", "libmpg123-0", "libasyncns0", "libbrotli1"),
    *("libwayland-server0", "libx11-6", "libxau6", "libxcb1", "libxcomposite1", "libxdamage1"),
    *("libxdmcp6", "libxext6", "libxfixes3", "libxi6", "libxkbcommon0", "libxnvctrl0"),
    *("libxrandr2", "libxrender1", "libx11-xcb1", "libbsd0", "libmd0"),
)
# As `agency[recipes]` and pytest, which nixpkgs gives a host; from where this test has them.
LIBRARIES = ("pytest", "pluggy", "iniconfig", "playwright", "pyee")
NGINX_CONF = f"""\
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:443 ssl;
    server_name {FORGE};
    ssl_certificate {OWN}/forge.pem;
    ssl_certificate_key {OWN}/forge.key;
    client_max_body_size 64m;
    location / {{
      proxy_pass http://127.0.0.1:3000;
      proxy_set_header Host {FORGE};
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""
GITEA, GITEA_PORT = OWN / "gitea", 3000
GITEA_INI = f"""\
APP_NAME = forge of a test
RUN_USER = nobody
RUN_MODE = prod
WORK_PATH = /var/lib/forge

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {GITEA_PORT}
ROOT_URL = https://{FORGE}/
OFFLINE_MODE = true
DISABLE_SSH = true

[database]
DB_TYPE = sqlite3
PATH = /var/lib/forge/gitea.db

[security]
INSTALL_LOCK = true
PASSWORD_HASH_ALGO = pbkdf2$1000$50

[log]
LEVEL = Warn
MODE = console

[cron]
ENABLED = false
"""
_GITEA = ("env", "HOME=/var/lib/forge", "USER=nobody", str(GITEA), f"--config={OWN}/app.ini")
_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
_ADMIN = "forge-admin"
# A page, with the status in the exit status of the program alone.
_GET = """
import sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Host": sys.argv[2]})
sys.stdout.buffer.write(urllib.request.urlopen(asked, timeout=20).read())
"""
_UNTIL = """
import sys, time, urllib.request
for _ in range(240):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        sys.exit()
    except OSError as error:
        told = error
    time.sleep(0.5)
sys.exit(f"no answer: {told}")
"""
# As `agency.ci.authority` does it: the certificate is of no authority that everybody trusts.
_TRUST = f"""
import json, pathlib
place = pathlib.Path("{CONFIG}")
told = json.loads(place.read_text())
told["runner"]["ca"] = "{AUTHORITY}"
place.write_text(json.dumps(told))
"""
_OF_HOST = ("ingress", "docker_gwbridge", "proxy", "host", "none", "bridge", "traefik_")


@dataclass
class RunsPart(RecipesPart):
    """Part `recipes` with what a run needs, and with secrets that the test knows."""

    unpacked: ClassVar[tuple[str, ...]] = (*RecipesPart.unpacked, *UNPACKED)
    certificates: Certificates = field(
        default_factory=lambda: make_certificates(DOMAIN, datetime.now(UTC))
    )
    token: str = ""

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        super().adapt(document)
        document["recipes"] = {RECIPE: {"repository": PROJECT}}

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:
        return {
            FORGE_BOT_TOKEN: SecretValue(self.token),
            WILDCARD_CERTIFICATE: SecretValue(self.certificates.chain),
            WILDCARD_CERTIFICATE_KEY: SecretValue(self.certificates.key),
        }


def supplies(place: Path) -> Path:
    """Make what the part takes along: as for a spin-up, and the image of the recipe's app."""
    made = make_supplies(place)
    layer = rootfs({"usr/sbin/nginx": find_nginx().program})
    (made / "images" / "nginx.tar").write_bytes(image(NGINX, layer))
    return made


async def bring_programs(guest: Guest, part: RunsPart, materials: Materials, base: Path) -> None:
    """Install Debian's packages of the part, as a spin-up does, and the suites' libraries."""
    unpacked = frozenset(part.unpacked) - set(part.packages)
    names = tuple(sorted({*part.packages, *unpacked}))
    recipe, image = default_recipe(), materials.image
    async with hold_debs(
        base, recipe, image, names, unpacked=unpacked, marker="agency-tests"
    ) as debs:
        await install_debs(guest, debs)
    await guest.run("ldconfig")
    await guest.unpack(archive(_libraries()), PREFIX, timeout_s=240)


def _libraries() -> Iterator[tuple[str, Path]]:
    """List what the suites of recipes are run with, from the environment of this test."""
    for name in LIBRARIES:
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if path.is_file() and not {"..", "__pycache__"} & set(file.parts):
                yield f"{SITE}/{file}", path


async def bring_forge(guest: Guest, certificates: Certificates) -> str:
    """Start Gitea in the guest, behind HTTPS by its name; return its administrator's token."""
    chain, key = certificates.chain.encode(), certificates.key.encode()
    authority = GuestFile(certificates.authority.encode())
    await guest.write(
        {
            GITEA: GuestFile(running_gitea.PROGRAM.read_bytes(), mode=0o755),
            # Gitea adds secrets of its own.
            OWN / "app.ini": GuestFile(GITEA_INI.encode(), uid=65534, gid=65534),
            OWN / "nginx.conf": GuestFile(NGINX_CONF.encode()),
            OWN / "forge.pem": GuestFile(chain),
            OWN / "forge.key": GuestFile(key, mode=0o600),
            AUTHORITY: authority,
            PurePosixPath("/usr/local/share/ca-certificates/of-the-test.crt"): authority,
        }
    )
    await guest.run("update-ca-certificates", timeout_s=120)
    await guest.run("sh", "-c", f"echo 127.0.0.1 {FORGE} >>/etc/hosts")
    await guest.run("install", "-d", "-o", "nobody", "-g", "nogroup", "/var/lib/forge")
    unit = ("systemd-run", "--quiet", "--uid=nobody", "--gid=nogroup", "--unit=forge")
    await guest.run(*unit, *_GITEA, "web")
    nginx = ("nginx", "-c", str(OWN / "nginx.conf"), "-g", "daemon off;")
    await guest.run("systemd-run", "--quiet", "--unit=forge-tls", *nginx)
    version = f"https://{FORGE}/api/v1/version"
    await guest.run("python3", "-I", "-c", _UNTIL, version, timeout_s=180)
    account = ("--username", _ADMIN, "--email", "admin@forge.example", "--random-password")
    user = (*_NOBODY, *_GITEA, "admin", "user")
    await guest.run(*user, "create", "--admin", *account, timeout_s=90)
    token = ("generate-access-token", "--username", _ADMIN, "--scopes", "all", "--raw")
    return (await guest.run(*user, *token, timeout_s=90)).decode().strip().splitlines()[-1]


async def activate(guest: Guest, part: RunsPart, materials: Materials, place: Path) -> None:
    """Make the guest a host with recipe CI, all of it as exported; then let its runs trust."""
    given = load_instance(ROOT / "instance", check_recipients=False)
    made = RunSecrets.make(given, place, [part])
    try:
        portable = ROOT / "modules" / "portable"
        await provision(guest, materials, portable, made.loaded.root, made.key)
    finally:
        made.close()
    await part.bring(guest)
    words = ("--portable", str(PORTABLE), "--instance", str(INSTANCE), "--with", part.name)
    await guest.run(PROGRAM, "activate", *words, "--timeout", "300", timeout_s=330)
    await part.activated(guest)
    await guest.run("python3", "-I", "-c", _TRUST)
    await guest.run("systemctl", "restart", RUNNER, timeout_s=60)


def make_people(gitea: Gitea) -> dict[str, str]:
    """Make the accounts and the team that may start runs; return each one's token."""
    tokens = {name: gitea.person(name) for name in (MAINTAINER, STRANGER, BOT)}
    gitea.call("POST", "/orgs", {"username": "team"})
    (team,) = gitea.call("GET", "/orgs/team/teams")
    for name in (MAINTAINER, BOT):
        gitea.call("PUT", f"/teams/{team['id']}/members/{name}")
    return tokens


@dataclass
class People:
    """What `Repository` needs of the forge and of those who use it."""

    gitea: Gitea
    tokens: dict[str, str]

    def within(self, look: Callable[[], Any], what: str, seconds: float = 240) -> Any:
        """Ask again until there is something."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := look():
                return found
            time.sleep(1)
        raise AssertionError(f"no {what} within {seconds:g} s")


@dataclass
class RecipeHost:
    """Guest with recipe CI; calls of the forge block, and are made in threads."""

    guest: Guest
    repository: Repository

    async def get(self, path: str, port: str = "dashboard", host: str = DASHBOARD) -> bytes:
        """Get a page of a unit, as the edge before it would."""
        url = f"http://127.0.0.1:{naming.SERVICE_PORTS[port]}{path}"
        return await self.guest.run("python3", "-I", "-c", _GET, url, host, timeout_s=60)

    async def json(self, path: str) -> Any:
        """Get a document of the dashboard."""
        return json.loads(await self.get(path))

    async def run_of(self, number: int, before: str = "") -> str:
        """Wait for the run that the bot's newest answer links to; it is not the one `before`."""
        link = re.compile(rf"https://{re.escape(DASHBOARD)}/runs/(r[0-9a-z]{{8}})")

        def answered() -> str:
            found = link.findall("\n".join(self.repository.told(number)))
            return found[-1] if found and found[-1] != before else ""

        people: Any = self.repository.agency
        return str(await asyncio.to_thread(people.within, answered, "answer with a link", 120))

    async def until(self, run: str, text: str, seconds: float = 240) -> None:
        """Wait until a run's own log has a text."""
        log = STATE / "artifacts" / run / "logs" / "progress.log"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = await self.guest.look("grep", "--count", "--", text, str(log))
            if told.exit_status == 0:
                return
            await asyncio.sleep(0.5)
        raise AssertionError(f"run {run} said no {text!r}: {await self.journal(RUNNER)}")

    async def journal(self, unit: str) -> str:
        """Read what a unit has told."""
        argv = ("journalctl", "--output=cat", "--no-pager", "--unit", unit)
        return (await self.guest.run(*argv)).decode()

    async def left(self) -> list[str]:
        """List what is on the swarm or of a run on disk, but for what every host has."""
        found = []
        for kind in ("service", "volume", "secret", "config", "network", "container"):
            argv = ("docker", kind, "ls", *(("--all",) if kind == "container" else ()))
            told = await self.guest.run(*argv, "--format", "{{json .}}")
            rows = [json.loads(line) for line in told.decode().splitlines()]
            names = [str(row.get("Name") or row.get("Names")) for row in rows]
            found += [f"{kind} {name}" for name in names if not name.startswith(_OF_HOST)]
        apps = await self.guest.run("ls", "-A", str(STATE / "apps"))
        return [*found, *apps.decode().split()]


@asynccontextmanager
async def recipe_host(
    guest: Guest, materials: Materials, base: Path, place: Path
) -> AsyncIterator[RecipeHost]:
    """Make a fresh guest a host with recipe CI, whose forge has the recipe and its people."""
    part = RunsPart()
    part.supplies = await asyncio.to_thread(supplies, place / "supplies")
    await bring_programs(guest, part, materials, base)
    token = await bring_forge(guest, part.certificates)
    async with guest.forward(GITEA_PORT) as port:
        gitea = Gitea(token, Server(f"http://127.0.0.1:{port}", [], {}, place))
        tokens = await asyncio.to_thread(make_people, gitea)
        part.token = tokens[BOT]
        bench = Bench(None, place)  # type: ignore[arg-type] # its swarm is the guest's
        await asyncio.to_thread(bench.make_repository)
        repository = Repository(People(gitea, tokens), bench)  # type: ignore[arg-type]
        await asyncio.to_thread(repository.set_up)
        await activate(guest, part, materials, place / "secrets")
        try:
            yield RecipeHost(guest, repository)
        finally:
            # Incus waits long for a guest whose Docker still has containers, on a busy machine.
            units = ("docker.socket", "docker.service", "containerd.service")
            await guest.look("systemctl", "stop", RUNNER, *units, timeout_s=180)
