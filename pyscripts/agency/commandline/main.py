"""Runner of a click command: turns every ending into an exit status."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

import click

from agency.commandline.extras import missing_extra
from agency.commandline.streams import (
    READER_GONE,
    flush_output,
    prepare_streams,
    reader_is_gone,
    settle_errors,
    silence_output,
    unwritable_output,
)
from agency.errors import AgencyError, ExitCode, InternalError, UsageError


def _usage_error(error: click.ClickException) -> UsageError:
    """Convert a usage error of click into one of this project."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else None
    hint = f"`{command} --help` shows its usage" if command else None
    return UsageError(error.format_message(), where=command, hint=hint)


def run(command: click.Command, arguments: Sequence[str], *, prog_name: str) -> int:
    """Run a click command and turn its ending into an exit status.

    Set AGENCY_DEBUG=1 to see the traceback of an internal error.
    """
    try:
        return _run(command, arguments, prog_name)
    finally:
        settle_errors()


def _run(command: click.Command, arguments: Sequence[str], prog_name: str) -> int:
    as_json = "--json" in arguments
    try:
        prepare_streams()
        result = command.main(list(arguments), prog_name=prog_name, standalone_mode=False)
        flush_output()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        return _tell_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            click.echo("interrupted", err=True)
        return 130
    except AgencyError as error:
        return _tell(error, as_json=as_json)
    except SystemExit as ending:
        # click turns the error of a pipe into this, in a way that differs by its version.
        if ending.code != 1 or not reader_is_gone():
            raise
        silence_output()
        return READER_GONE
    except Exception as error:  # outermost edge: any other exception is a defect
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            silence_output()
            return READER_GONE
        known = _known(error)
        if known is None and os.environ.get("AGENCY_DEBUG"):
            raise
        return _tell(known or _defect(error), as_json=as_json)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)


def _tell(error: AgencyError, *, as_json: bool) -> int:
    from agency.commandline.output import print_error

    # If nobody can be told, the exit status still says it.
    with contextlib.suppress(OSError):
        print_error(error, as_json=as_json)
    return int(error.exit_code)


def _tell_usage(error: click.ClickException, *, as_json: bool) -> int:
    from agency.terminal import plain_lines

    if as_json:
        return _tell(_usage_error(error), as_json=True)
    shown = io.StringIO()
    error.show(shown)
    with contextlib.suppress(OSError):
        click.echo(plain_lines(shown.getvalue().rstrip("\n")), err=True)
    return int(ExitCode.USAGE)


def _known(error: Exception) -> AgencyError | None:
    """Explain an error whose cause is known although no command expects it; None for a defect."""
    if isinstance(error, ModuleNotFoundError):
        return missing_extra(error)
    if isinstance(error, OSError):
        return unwritable_output(error)
    return None


def _defect(error: Exception) -> AgencyError:
    return InternalError(
        f"{type(error).__name__}: {error}",
        hint="this is a defect; run again with AGENCY_DEBUG=1 and report the traceback",
    )
