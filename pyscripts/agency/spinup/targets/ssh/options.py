"""Options of `--target ssh`; light, since every spin-up reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from agency.spinup.options import SUITE_TIMEOUT, Decorator, table

_CONNECT_S = click.FloatRange(min=1, max=600)
_CONNECT = "Seconds that connecting to a host may take."
_PASSWORDS = click.Path(dir_okay=False, path_type=Path)

OPTIONS: Mapping[str, Decorator] = {
    "host": click.option(
        "--host", metavar="[USER@]HOST", help="The host of --target ssh, as root."
    ),
    "ssh_options": click.option(
        "--ssh-option",
        "ssh_options",
        multiple=True,
        metavar="KEYWORD=VALUE",
        help="An option of ssh, such as Port=2222; may be given several times.",
    ),
    **table(("connect_timeout_s", "--connect-timeout", _CONNECT_S, 30, _CONNECT), SUITE_TIMEOUT),
    "read_only": click.option(
        "--read-only/--no-read-only",
        default=True,
        show_default=True,
        help="Only look at the host of --target ssh, or start and stop its agents too.",
    ),
    "password_file": click.option(
        "--password-file",
        type=_PASSWORDS,
        help="Passwords by Matrix id as JSON, mode 0600; who talks to the host's agency.",
    ),
}
