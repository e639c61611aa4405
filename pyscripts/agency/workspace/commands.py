"""`agency workspace`: the programs behind the units of an agent's features.

The units and their hardening exist, and each starts its command here. A feature whose program is
not written yet says so and ends with exit status 3, so that a host that turns it on sees a failed
unit with the reason rather than a feature that does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import click

from agency.errors import PrerequisiteError


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of an agent: its words after `agency workspace`, its option, its help."""

    words: tuple[str, ...]
    option: str
    help: str
    of_agent: bool = True


FEATURES = (
    Feature(("desktop",), "desktop", "Run the agent's headless desktop."),
    Feature(("browser",), "browser", "Run the agent's browser on its desktop."),
    Feature(("mail", "serve"), "mail", "Serve the agent its mail account."),
    Feature(("passwords", "serve"), "passwords", "Serve the agent its own password collection."),
    Feature(("tailnet",), "tailnet", "Join the agent to its tailnet."),
    Feature(("ssh-agent",), "ssh", "Hold the agent's SSH key."),
    Feature(("scaffold",), "workspace", "Make and mend the agent's workspace."),
    Feature(("mcp", "configure"), "mcp", "Write the agent's MCP configuration."),
    Feature(("schedule",), "taskLoop", "Take new work into the agent's task list."),
    Feature(("task-loop",), "taskLoop", "Work through the agent's task list once."),
    Feature(("coding-agent", "serve"), "codingAgent", "Run coding tasks under the contract."),
    Feature(
        ("incidents", "escalate"),
        "incidents",
        "Tell the operators of critical incidents.",
        of_agent=False,
    ),
)


def _not_written(feature: Feature) -> NoReturn:
    command = " ".join(("agency workspace", *feature.words))
    raise PrerequisiteError(
        f"the program behind `{command}` is not part of this version",
        where=f"agency.agents.<name>.{feature.option}",
        hint=f"leave the feature {feature.option} off",
    )


def _command(feature: Feature) -> click.Command:
    def run(**_arguments: str) -> None:
        _not_written(feature)

    arguments: list[click.Parameter] = [click.Argument(["agent"])] if feature.of_agent else []
    return click.Command(feature.words[-1], callback=run, params=arguments, help=feature.help)


@click.group()
def workspace() -> None:
    """Run the programs behind an agent's features; their units call this."""


def _register() -> None:
    for feature in FEATURES:
        parent = workspace
        for word in feature.words[:-1]:
            found = parent.commands.get(word)
            if not isinstance(found, click.Group):
                found = click.Group(word, help=f"The feature {feature.option}.")
                parent.add_command(found)
            parent = found
        parent.add_command(_command(feature))


_register()
