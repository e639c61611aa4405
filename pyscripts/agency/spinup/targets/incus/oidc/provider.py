"""An OpenID provider in a guest: started there, made known to the homeserver, stopped again.

The guest's own definitions say where it is and where what it issues belongs; see
`modules/issued.nix`. It has one client, the homeserver, and one account.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from agency import naming
from agency.errors import BadInputError
from agency.guests import Guest, GuestFile, ProviderPack
from agency.machine import MachineError, units
from agency.secrets import MATRIX_OIDC_CLIENT_ID as _CLIENT_ID
from agency.secrets import MATRIX_OIDC_CLIENT_SECRET as _CLIENT_SECRET
from agency.secrets import ComposeConfig
from agency.spinup.targets.incus.oidc.request import CALLBACK
from agency.spinup.targets.incus.system import Programs
from agency.spinup.targets.incus.system.debian import PROGRAMS

# Not `agency-...`: an activation removes units of that name that nobody declared.
UNIT = "spinup-oidc-provider.service"
KIND = "certified provider package, not GitLab"
ACCOUNT = "member"
DRIVER = ("-I", "-m", "agency.spinup.targets.incus.oidc.login")  # arguments of the guest's Python
NOBODY = 65534

_HOME = PurePosixPath("/opt/spinup-oidc-provider")
_SETTINGS = PurePosixPath("/run/spinup-oidc-provider.json")
_ISSUED_CONFIG = PurePosixPath("/etc/agency/issued.json")
_ISSUED_UNIT = "agency-issued.service"
_OIDC_FILE = "matrix-oidc.yaml"
_UNPACK_S = 60.0
_START_S = 60.0
_LIFETIME_S = 900

NewSecret = Callable[[], str]

# As modules/lib/hardening.nix has it for our own units; node makes code while it runs, so memory
# may be writable and executable.
_HARDENING = (
    *("AmbientCapabilities=", "CapabilityBoundingSet=", "DynamicUser=yes", "KeyringMode=private"),
    *("LockPersonality=yes", "NoNewPrivileges=yes", "PrivateDevices=yes", "PrivateTmp=yes"),
    *("PrivateUsers=yes", "ProcSubset=pid", "ProtectClock=yes", "ProtectControlGroups=yes"),
    *("ProtectHome=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes"),
    *("ProtectKernelModules=yes", "ProtectKernelTunables=yes", "ProtectProc=invisible"),
    *("ProtectSystem=strict", "RemoveIPC=yes", "RestrictNamespaces=yes", "RestrictRealtime=yes"),
    *("RestrictSUIDSGID=yes", "SystemCallArchitectures=native", "SystemCallErrorNumber=EPERM"),
    *("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"),
    *("UMask=0077", "IPAddressDeny=any", "IPAddressAllow=localhost"),
    *("RestrictAddressFamilies=AF_UNIX AF_INET", "SocketBindDeny=any"),
    *("MemoryMax=256M", "TasksMax=32", f"RuntimeMaxSec={_LIFETIME_S}"),
)


@dataclass(frozen=True, slots=True)
class Wiring:
    """Provider that the guest's homeserver trusts, by the guest's definitions."""

    issuer: str
    idp: str  # as the homeserver names it to its clients
    client_id: PurePosixPath
    client_secret: PurePosixPath

    @property
    def port(self) -> int:
        """The port of loopback that it is to listen on."""
        return urlsplit(self.issuer).port or 80


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """A provider that runs in a guest. `facts` are what the evidence says of it."""

    wiring: Wiring
    facts: dict[str, str]
    public: str
    account: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    password: str = field(repr=False)
    python: str = PROGRAMS.python

    @property
    def secret_values(self) -> tuple[str, ...]:
        """Secrets that may be found nowhere but in their own files."""
        return (self.client_secret, self.password)


def read_wiring(document: bytes) -> Wiring:
    """Read `/etc/agency/issued.json` of a guest.

    Raises:
        BadInputError: its homeserver trusts no provider on loopback.
    """
    config = ComposeConfig.model_validate_json(document)
    file = next((one for one in config.files if one.name == _OIDC_FILE), None)
    if file is None:
        raise BadInputError("names no provider for the homeserver", where=str(_ISSUED_CONFIG))
    (provider,) = json.loads(file.content)["oidc_providers"]
    issuer = str(provider["issuer"])
    if urlsplit(issuer).hostname != "127.0.0.1":
        raise BadInputError("the provider is not one of this machine's own", where=issuer)
    paths = {name: PurePosixPath(path) for name, path in file.secrets.items()}
    return Wiring(issuer, f"oidc-{provider['idp_id']}", paths[_CLIENT_ID], paths[_CLIENT_SECRET])


def unit_argv(
    settings: PurePosixPath = _SETTINGS, *, port: int, node: str = PROGRAMS.node
) -> tuple[str, ...]:
    """Make the call that starts the provider as a transient unit; it holds no secret."""
    properties = (
        *_HARDENING,
        f"SocketBindAllow=ipv4:tcp:{port}",
        f"LoadCredential=provider.json:{settings}",
    )
    return (
        *("systemd-run", f"--unit={UNIT}", "--collect", "--quiet", "--service-type=exec"),
        "--description=OpenID provider of this spin-up",
        *(f"--property={one}" for one in properties),
        "--setenv=NODE_ENV=production",
        *(node, "--max-old-space-size=96", str(_HOME / "provider.mjs")),
    )


async def start_provider(
    guest: Guest,
    pack: ProviderPack,
    *,
    domain: str,
    account: str = ACCOUNT,
    programs: Programs = PROGRAMS,
    new_secret: NewSecret = lambda: secrets.token_urlsafe(32),
) -> RunningProvider:
    """Start the provider in an activated guest, with one account; it answers when this returns.

    The homeserver does not know of it yet: `issue_client` tells it.

    Raises:
        MachineError: it does not start, or does not describe itself; with the end of its journal.
        BadInputError: the guest's homeserver is not set up for a provider on loopback.
    """
    # On NixOS it is a link, which `read` refuses.
    wiring = read_wiring(await guest.run("cat", str(_ISSUED_CONFIG)))
    await guest.run("mkdir", "--parents", str(_HOME))
    await guest.unpack(pack.archive.read_bytes(), _HOME, timeout_s=_UNPACK_S)
    package = json.loads(await guest.read(_HOME / "node_modules" / pack.name / "package.json"))
    running = RunningProvider(
        wiring=wiring,
        facts={"name": package["name"], "version": package["version"], "kind": KIND},
        public=f"https://{naming.public_host('matrix', domain)}",
        account=account,
        client_id=new_secret(),
        client_secret=new_secret(),
        password=new_secret(),
        python=programs.python,
    )
    settings = GuestFile(json.dumps(_settings(running)).encode(), mode=0o600)
    await guest.write({_SETTINGS: settings})
    await guest.run(*unit_argv(port=wiring.port, node=programs.node), timeout_s=_START_S)
    try:
        argv = (programs.python, *DRIVER, wiring.issuer)
        await guest.run(*argv, timeout_s=_START_S, uid=NOBODY, gid=NOBODY)
    except MachineError as error:
        raise await units.failure(guest, (UNIT,)) from error
    return running


def _settings(running: RunningProvider) -> dict[str, Any]:
    return {
        "issuer": running.wiring.issuer,
        "port": running.wiring.port,
        "client": {
            "id": running.client_id,
            "secret": running.client_secret,
            "redirectUri": running.public + CALLBACK,
        },
        "account": {
            "name": running.account,
            "displayName": running.account.capitalize(),
            "password": running.password,
        },
    }


async def issue_client(guest: Guest, running: RunningProvider) -> None:
    """Put the client's id and secret where the forge's reconciler would, and have them taken up.

    The homeserver is then restarted; `oidc_login` waits for it.

    Raises:
        MachineError: they cannot be written, or not be taken up.
    """
    await guest.write(
        {
            running.wiring.client_id: GuestFile(running.client_id.encode() + b"\n", mode=0o400),
            running.wiring.client_secret: GuestFile(
                running.client_secret.encode() + b"\n", mode=0o400
            ),
        }
    )
    await guest.run("systemctl", "start", _ISSUED_UNIT, timeout_s=_START_S)


async def stop_provider(guest: Guest) -> None:
    """Stop the provider and remove what it was made of; the homeserver goes on without it."""
    await guest.run("systemctl", "stop", UNIT, timeout_s=_START_S)
    await guest.run("rm", "--recursive", "--force", str(_HOME), str(_SETTINGS))
