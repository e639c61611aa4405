"""Command `agency completion`, which prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from agency.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell; `eval "$(agency completion bash)"` loads it."""
    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}")
    click.echo(found(root, {}, "agency", "_AGENCY_COMPLETE").source())
