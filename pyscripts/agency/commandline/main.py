"""Runner of a click command: turns every ending into an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from agency.commandline.extras import missing_extra
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
    from agency.commandline.output import print_error
    from agency.terminal import plain_lines

    as_json = "--json" in arguments
    try:
        result = command.main(list(arguments), prog_name=prog_name, standalone_mode=False)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        if as_json:
            print_error(_usage_error(error), as_json=True)
        else:
            shown = io.StringIO()
            error.show(shown)
            click.echo(plain_lines(shown.getvalue().rstrip("\n")), err=True)
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except AgencyError as error:
        print_error(error, as_json=as_json)
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of the output closed it: no error here. Keep Python's exit quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    except Exception as error:  # outermost edge: any other exception is a defect
        missing = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        if missing is not None:
            print_error(missing, as_json=as_json)
            return int(missing.exit_code)
        if os.environ.get("AGENCY_DEBUG"):
            raise
        wrapped = InternalError(
            f"{type(error).__name__}: {error}",
            hint="this is a defect; run again with AGENCY_DEBUG=1 and report the traceback",
        )
        print_error(wrapped, as_json=as_json)
        return int(ExitCode.INTERNAL)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)
