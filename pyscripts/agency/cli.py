"""Root of the `agency` command. A subcommand's code is imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from agency import __version__
from agency.commandline import leave, run, uncollected
from agency.errors import InternalError


@dataclass(frozen=True, slots=True)
class Entry:
    """Location of a subcommand (`module:attribute`) and its one line of help."""

    target: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "init": Entry("agency.instance.commands:init", "Make a new instance directory."),
    "check": Entry("agency.instance.commands:check", "Check an instance and say what is wrong."),
    "doctor": Entry(
        "agency.doctor.commands:doctor", "Look once at all that usually goes wrong here."
    ),
    "render": Entry("agency.instance.commands:render", "Write instance/generated/ from it."),
    "schema": Entry("agency.instance.commands:schema", "Print the JSON Schema of instance.yaml."),
    "secrets": Entry(
        "agency.instance.secret_commands.group:secrets", "List and examine an instance's secrets."
    ),
    "control": Entry("agency.control.cli:control", "Run and examine the control plane."),
    "audit": Entry("agency.control.cli:audit", "Verify and read the audit log."),
    "agent": Entry("agency.agent.commands:agent", "Try and explain agents; run their parts."),
    "room": Entry("agency.control.room:room", "Send a command to the control room."),
    "do": Entry(
        "agency.control.entrance.do:do", "Give a command: agency do NOUN VERB, here or by HTTP."
    ),
    "tokens": Entry(
        "agency.control.entrance.tokens:tokens", "Make and take back tokens of the HTTP interface."
    ),
    "command": Entry(
        "agency.control.entrance.command:command", "Give a command to the control plane itself."
    ),
    "gosuto": Entry("agency.gosuto.commands:gosuto", "Check an agent's policy document."),
    "sandbox": Entry(
        "agency.sandbox.commands:sandbox", "Lease throwaway machines that run a change."
    ),
    "guest": Entry("agency.guests.commands:guest", "List, enter and end throwaway guests."),
    "activate": Entry(
        "agency.guests.activation.commands:activate",
        "Bring this Debian machine to its definitions.",
    ),
    "observe": Entry(
        "agency.spinup.observe.commands:observe", "Answer questions about this machine's agency."
    ),
    "backup": Entry("agency.backup.commands:backup", "Back up and restore what is not in git."),
    "recipes": Entry(
        "agency.recipes.commands:recipes", "Try Co-op Cloud recipes; run the parts of recipe CI."
    ),
    "workspace": Entry(
        "agency.workspace.commands:workspace", "Run the programs behind an agent's features."
    ),
    "transcript": Entry("agency.transcript.commands:transcript", "Show, verify transcripts."),
    "up": Entry(
        "agency.spinup.targets.local.commands:up", "Start a local agency and keep it running."
    ),
    "down": Entry("agency.spinup.targets.local.commands:down", "Stop the local agency."),
    "status": Entry(
        "agency.spinup.targets.local.commands:status", "Show the local agency's state."
    ),
    "reconcile": Entry(
        "agency.reconcile.commands:reconcile",
        "Bring one part of this machine to its declared state.",
    ),
    "accounts": Entry(
        "agency.reconcile.matrix.commands:accounts",
        "Give people of this machine new Matrix passwords.",
    ),
    "completion": Entry(
        "agency.commandline.completion:completion", "Print the completion script of a shell."
    ),
    "version": Entry(
        "agency.commandline.version:version", "Print the version of the agency and its parts."
    ),
}


class LazyGroup(click.Group):
    """Group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the names in the order of the table: the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        with uncollected():
            command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise InternalError(f"{entry.target} is not a command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names from COMMANDS: importing every command takes seconds."""
        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        # Past the group's own, which imports each command for its line of help.
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument; name the nearest one if there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            more = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{more}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of commands from COMMANDS, so that `--help` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="agency")
def cli() -> None:
    """One flake and one age key turn a blank machine into a software agency.

    Exit status: 0 done, 1 the thing checked is bad, 2 wrong usage, 3 something needed first is
    missing, 4 internal error, 130 interrupted, 141 nobody reads the output.
    """


def main() -> None:
    """Run the console script."""
    leave(run(cli, sys.argv[1:], prog_name="agency"))


if __name__ == "__main__":
    main()
