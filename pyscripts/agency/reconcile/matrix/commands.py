"""`agency accounts`: what root does for the accounts of people on this machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency import settings
from agency.clock import Clock
from agency.commandline import emit, json_option
from agency.reconcile.engine.lock import held, lock_dir
from agency.reconcile.matrix.accounts import AccountsSettings
from agency.reconcile.matrix.reset import opened
from agency.secrets import credentials

if TYPE_CHECKING:
    from rich.console import Console

_NAME = "accounts"
_SETTINGS = Path(f"/etc/agency/reconcile/{_NAME}.json")
_WAIT_S = 60.0
_NOT_HERE = "it is there where people log in to Matrix with a password; with GitLab, reset it there"


@click.group()
def accounts() -> None:
    """Look after the Matrix accounts of people, as root on the machine."""


@accounts.command()
@click.argument("user", metavar="MATRIX_ID")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_SETTINGS,
    show_default=True,
    help="The settings of the reconciler `accounts`.",
)
@json_option
def reset(user: str, config: Path, as_json: bool) -> None:
    """Set a new password for an account, and end its sessions.

    The password is written to a file that only root reads; it is never printed.
    """
    with credentials(config, os.environ):
        file = asyncio.run(_reset(user, config))

    def human(console: Console) -> None:
        console.print(f"{user} has a new password, and is logged out everywhere.", markup=False)
        console.print(f"Hand it over and remove the file: {file}", markup=False, soft_wrap=True)

    emit({"user": user, "file": str(file)}, as_json=as_json, human=human)


async def _reset(user: str, config: Path) -> Path:
    loaded = settings.load(config, AccountsSettings, hint=_NOT_HERE)
    async with (
        held(lock_dir(_NAME, os.environ), wait_s=_WAIT_S, clock=Clock()),
        opened(loaded) as resetting,
    ):
        return await resetting.run(user)
