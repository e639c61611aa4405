"""Command group `agency secrets`."""

from __future__ import annotations

import click

from agency.instance.secret_commands.changing import (
    edit_secrets,
    generate_secrets,
    rotate_secrets,
    set_secret,
)
from agency.instance.secret_commands.looking import doctor, list_secrets
from agency.instance.secret_commands.recipients import recipients, rekey
from agency.secrets import compose_issued, install_secrets


@click.group()
def secrets() -> None:
    """List, examine, change and install secrets; no value is ever shown."""


for command in (
    list_secrets,
    doctor,
    generate_secrets,
    set_secret,
    edit_secrets,
    rotate_secrets,
    rekey,
    recipients,
    install_secrets,
    compose_issued,
):
    secrets.add_command(command)
