"""Settings of the OpenSSH client: two configuration files, made for one run.

Source: ssh_config(5). The first value of a keyword counts, so these stand before the user's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from agency.errors import PrerequisiteError, UsageError

# What a caller may set: neither the trusted host keys, nor prompting.
OPTIONS = (
    *("CertificateFile", "GlobalKnownHostsFile", "HostKeyAlias", "HostName", "IdentitiesOnly"),
    *("IdentityAgent", "IdentityFile", "Port", "ProxyCommand", "ProxyJump", "User"),
    "UserKnownHostsFile",
)
_KNOWN = {name.lower(): name for name in OPTIONS}
_DESTINATION = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_:][A-Za-z0-9_.:-]*\Z")

_ALIVE_S, _ALIVE_COUNT = 5, 3
# A socket's path has 108 bytes (unix(7)), and ssh makes it under a name that is 17 longer.
_MAX_SOCKET = 108 - 17 - 1

_CONNECTION = f"""\
ControlMaster yes
ControlPersist no
SessionType none
StdinNull yes
RequestTTY no
ForkAfterAuthentication no
BatchMode yes
StrictHostKeyChecking yes
VerifyHostKeyDNS no
NoHostAuthenticationForLocalhost no
UpdateHostKeys no
AddKeysToAgent no
ForwardAgent no
ForwardX11 no
Tunnel no
GatewayPorts no
ClearAllForwardings yes
PermitLocalCommand no
RemoteCommand none
LogLevel INFO
TCPKeepAlive yes
ServerAliveInterval {_ALIVE_S}
ServerAliveCountMax {_ALIVE_COUNT}
"""

# Where the connection is gone, ssh would make one of its own: it is led nowhere instead.
_PASSENGER = """\
ControlMaster no
ProxyCommand exec false
BatchMode yes
LogLevel ERROR
"""

_USERS = """\
Include ~/.ssh/config
Include /etc/ssh/ssh_config
"""


def check_destination(destination: str) -> str:
    """Check for `[USER@]HOST`, where HOST may be a name of the user's own configuration.

    Raises:
        UsageError: it has another form.
    """
    if not _DESTINATION.match(destination):
        raise UsageError(
            f"not a host: {destination[:200]!r}",
            where="--host",
            hint="write root@HOST; the port is set by --ssh-option Port=NUMBER",
        )
    return destination


def read_options(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Read `KEYWORD=VALUE` as on the command line, with the keyword as ssh_config(5) spells it.

    Raises:
        UsageError: the option must not be set, or it has another form.
    """
    return tuple(_option(text) for text in texts)


def _option(text: str) -> tuple[str, str]:
    keyword, equals, value = text.partition("=")
    name = _KNOWN.get(keyword.strip().lower())
    if name is None:
        raise UsageError(
            f"the option {keyword[:80]!r} cannot be set here",
            where="--ssh-option",
            hint=f"one of: {', '.join(OPTIONS)}",
        )
    if not equals or not value.strip() or not value.isprintable():
        raise UsageError(
            "a value is needed, on one line", where=f"--ssh-option {name}", hint=f"{name}=VALUE"
        )
    return name, value.strip()


def socket_in(directory: Path) -> Path:
    """Return the path of the connection's socket.

    Raises:
        PrerequisiteError: the path is too long for a socket.
    """
    path = directory / "s"
    if len(str(path).encode()) > _MAX_SOCKET:
        raise PrerequisiteError(
            f"too long for a socket's path, which has at most {_MAX_SOCKET} bytes here",
            where=str(path),
            hint="set XDG_STATE_HOME to a shorter path",
        )
    return path


def connection(options: Iterable[tuple[str, str]], socket: Path, timeout_s: float) -> str:
    """Write the connection's configuration: fixed settings, the caller's, then the user's own."""
    lines = (f"{name} {value}\n" for name, value in options)
    wait = f"ConnectTimeout {max(1, math.ceil(timeout_s))}\n"
    return _CONNECTION + wait + _control_path(socket) + "".join(lines) + _USERS


def passenger(socket: Path) -> str:
    """Write the configuration of all other ssh calls: they use the connection and nothing else."""
    return _PASSENGER + _control_path(socket)


def _control_path(socket: Path) -> str:
    text = str(socket).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'ControlPath "{text}"\n'
