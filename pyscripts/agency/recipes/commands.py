"""`agency recipes`: the programs behind the units of recipe CI."""

from __future__ import annotations

import click

from agency.commandline.unwritten import Unwritten, add_unwritten

UNWRITTEN = (
    Unwritten(
        ("runner",), "agency.ci.enable", "Run what the bridge asked for.", flags=("--config",)
    ),
    Unwritten(
        ("bridge",),
        "agency.bridge.enable",
        "Take test requests from comments on the forge.",
        flags=("--config", "--poll-seconds"),
    ),
    Unwritten(
        ("dashboard",),
        "agency.dashboard.enable",
        "Serve runs and their results as web pages.",
        flags=("--config", "--retention-days"),
    ),
)


@click.group()
def recipes() -> None:
    """Run the parts of recipe CI; their units call this."""


add_unwritten(recipes, UNWRITTEN)
