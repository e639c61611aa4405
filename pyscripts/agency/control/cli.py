"""Commands `agency control` and `agency audit`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agency.chain import Head
from agency.clock import Clock
from agency.commandline import emit, json_option
from agency.control.config import load_config
from agency.control.store.chain import AuditRow
from agency.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

_PATH = click.Path(dir_okay=False, path_type=Path)


@click.group()
def control() -> None:
    """Run and examine the control plane."""


@control.command("run")
@click.option("--config", "config_file", type=_PATH, required=True, help="control.json")
@click.option(
    "--listen-fd",
    "listen_fds",
    type=click.IntRange(min=3),
    multiple=True,
    metavar="NUMBER",
    help="The descriptor of a socket that listens on its port, or on an agent's. Repeatable.",
)
@click.option("--json", "_as_json", is_flag=True, help="Print an error as JSON; the log always is.")
def run_command(config_file: Path, listen_fds: tuple[int, ...], _as_json: bool) -> None:
    """Run the control plane until SIGTERM or SIGINT; its log goes to standard error.

    It reads matrix-as-token and matrix-hs-token from $CREDENTIALS_DIRECTORY, alertmanager-token
    where control.json says `alerts`, and vault-master-key if it is there: without it there is no
    vault, and the commands about secrets say so. A socket that listens on its port is taken from
    --listen-fd, or from systemd (LISTEN_FDS); else it makes one.
    """
    from agency.commandline import log_to_stderr, uncollected

    with uncollected():
        from agency.control.service.serving import serve
    from agency.control.service.shared import Tokens
    from agency.control.store.passwords import url_secrets
    from agency.control.vault.keys import read_keyring
    from agency.listening import inherited
    from agency.secrets import (
        ALERTMANAGER_TOKEN,
        MATRIX_AS_TOKEN,
        MATRIX_HS_TOKEN,
        VAULT_MASTER_KEY,
        Redactor,
        has_credential,
        read_credential,
    )

    os.umask(0o077)  # only its own user may read the files that it writes
    log_to_stderr()
    logging.getLogger("mau").setLevel(logging.WARNING)
    config = load_config(config_file)
    alerts = read_credential(ALERTMANAGER_TOKEN) if config.alerts else None
    vault = read_credential(VAULT_MASTER_KEY) if has_credential(VAULT_MASTER_KEY) else None
    tokens = Tokens(
        read_credential(MATRIX_AS_TOKEN), read_credential(MATRIX_HS_TOKEN), alerts, vault
    )
    if vault is not None:
        read_keyring(vault)  # said as what it is, before the log's redactor meets it
    secrets = (*tokens.all(), *url_secrets(config.database_url))
    log_to_stderr(config.log_level, Redactor(secrets).redact)
    handed = inherited(listen_fds)
    asyncio.run(serve(config, tokens, clock=Clock(), handed=handed))


@click.group()
def audit() -> None:
    """Verify and read the audit log; never writes to the database."""


def _database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--config", "config_file", type=_PATH, help="control.json, which names the database"
        ),
        click.option("--database", metavar="URL", help="SQLAlchemy URL, or a SQLite file"),
    ):
        command = option(command)
    return command


def _database(database: str | None, config_file: Path | None) -> str:
    if (database is None) == (config_file is None):
        raise UsageError("give one of --database and --config")
    return database if database is not None else load_config(config_file or Path()).database_url


@audit.command("verify")
@_database_options
@click.option("--instance", help="Instance that the log must belong to.")
@click.option("--head", metavar="HASH", help="Hash of a row, kept elsewhere.")
@click.option("--count", type=click.IntRange(min=0), help="Number of the row of --head.")
@json_option
def verify_command(
    database: str | None,
    config_file: Path | None,
    instance: str | None,
    head: str | None,
    count: int | None,
    as_json: bool,
) -> int:
    """Find an edited, removed, reordered or inserted row.

    Only a head that was kept elsewhere, such as the one in a transcript, reliably reveals rows cut
    off the end: give it with --head and --count. Without --instance, the log names its instance
    itself. Exits with 1 if the log is bad.
    """
    from agency.control.store.reading import verify_database

    if (head is None) != (count is None):
        raise UsageError("--head and --count go together")
    expected = None if head is None or count is None else Head(count, head.lower())
    place = _database(database, config_file)
    report = verify_database(place, instance=instance, expected=expected)

    def human(printer: Console) -> None:
        if report.ok:
            printer.print(f"The audit log is whole: {report.count} rows, head {report.head}")
        else:
            printer.print(f"The audit log is BAD at row {report.first_bad}: {report.reason}")

    emit(asdict(report), as_json=as_json, human=human)
    return int(ExitCode.DONE if report.ok else ExitCode.BAD)


@audit.command("tail")
@_database_options
@click.option("-n", "lines", type=click.IntRange(min=1), default=10, show_default=True)
@json_option
def tail_command(database: str | None, config_file: Path | None, lines: int, as_json: bool) -> None:
    """Print the last rows as JSON lines (with --json, as one list)."""
    _export(_database(database, config_file), last=lines, as_json=as_json)


@audit.command("export")
@_database_options
@json_option
def export_command(database: str | None, config_file: Path | None, as_json: bool) -> None:
    """Print every row as JSON lines (with --json, as one list)."""
    _export(_database(database, config_file), last=None, as_json=as_json)


def _export(database: str, *, last: int | None, as_json: bool) -> None:
    from agency.control.store.reading import export_rows

    if as_json:
        rows: list[AuditRow] = []
        export_rows(database, rows.append, last=last)
        click.echo(json.dumps([row.as_dict() for row in rows], indent=2, ensure_ascii=False))
        return
    export_rows(
        database,
        lambda row: click.echo(json.dumps(row.as_dict(), ensure_ascii=False)),
        last=last,
    )
