"""Running the loop of an agent as its unit does: settings, performer, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError
from agency.protocols import WORK_CONFIG
from agency.signals import stop_signals
from agency.workspace.config import AgentSettings, TaskLoopSettings, feature_off
from agency.workspace.incidents.model import EXAMPLES, Issues, Shared, issue_rules
from agency.workspace.incidents.shared import DIRECTORY as SHARED
from agency.workspace.incidents.shared import known_text, publish, read_shared
from agency.workspace.sheets import read_sheet
from agency.workspace.tasks.intake import take_due
from agency.workspace.tasks.loop import Loop, Report
from agency.workspace.tasks.performer import CommandPerformer
from agency.workspace.tasks.place import TaskPlace
from agency.workspace.tasks.scheduler import Limits

CREDENTIALS = "CREDENTIALS_DIRECTORY"

_LOG = logging.getLogger(__name__)


def loop_of(agent: AgentSettings, place: TaskPlace, program: Path | None = None) -> Loop:
    """Make the loop of an agent, after due schedules came into its list.

    `program` configures the agent's builtin program, which does the tasks where no command is set.

    Raises:
        PrerequisiteError: the feature is off, or nothing is configured that does tasks.
    """
    found = agent.task_loop
    if found is None:
        raise feature_off(agent.name, "taskLoop")
    performer = performer_of(agent, found, place, program)
    _take_due(place)
    return Loop(
        context=_known(agent, place),
        place=place,
        performer=performer,
        limits=Limits(
            max_tasks=found.max_tasks,
            max_wall_s=found.max_wall_time,
            max_errors=found.max_errors,
            max_tokens=found.max_tokens,
        ),
        model=found.model,
    )


def program_file() -> Path | None:
    """Return the configuration of the builtin program among the unit's credentials, if there.

    A unit whose agent does not run has an empty one in its place.
    """
    directory = os.environ.get(CREDENTIALS)
    if directory is None:
        return None
    path = Path(directory) / WORK_CONFIG
    return path if path.exists() and path.read_bytes().strip() != b"{}" else None


def performer_of(
    agent: AgentSettings, found: TaskLoopSettings, place: TaskPlace, program: Path | None
) -> CommandPerformer:
    """Choose what does the tasks: the configured command, else the agent's builtin program.

    Raises:
        PrerequisiteError: there is neither.
    """
    if found.command:
        return CommandPerformer(found.command, place.state, agent.home)
    if program is None:
        raise PrerequisiteError(
            "nothing does tasks: no command is configured, and no builtin program is here",
            where=f"agency.agents.{agent.name}.taskLoop.command",
            hint="set it; or give the agent a builtin program in instance.yaml, and start it",
        )
    argv = (sys.executable, "-I", "-m", "agency", "agent", "work", "--assigned")
    tokens = {name: os.environ[name] for name in (CREDENTIALS,) if name in os.environ}
    return CommandPerformer(
        (*argv, "--config", str(program.absolute())), place.state, agent.home, tokens
    )


def _take_due(place: TaskPlace) -> None:
    """Take what is due; trouble there is told, and keeps no task of the list from being done."""
    try:
        taken = take_due(place)
    except AgencyError as error:
        _LOG.warning("what is due did not come into the list: %s", error.message)
        return
    for line in taken.refused:
        _LOG.warning("what is due did not come into the list: %s", line)


def _known(agent: AgentSettings, place: TaskPlace) -> str:
    """Share the agent's incidents, and return the open ones of all; trouble there ends no run."""
    try:
        sheet, _ = read_sheet(place.workspace / "ISSUES.yaml", Issues, issue_rules, EXAMPLES)
    except AgencyError as error:
        _LOG.warning("ISSUES.yaml cannot be read: %s", error.message)
        sheet = Issues(issues=[])
    others: list[Shared] = []
    if SHARED.exists():
        try:
            publish(agent.name, sheet.issues, SHARED)
            others = read_shared(SHARED)
        except AgencyError as error:
            _LOG.warning("incidents cannot be shared: %s", error.message)
    return known_text(sheet.issues, others, agent.name)


class StoppedError(AgencyError):
    """End of a run by a signal; the task at hand is of unknown outcome."""


async def run_until_signal(loop: Loop) -> Report:
    """Run the loop; a signal that asks to stop ends the task at hand, and says so.

    Raises:
        StoppedError: a signal came.
    """
    run = asyncio.ensure_future(loop.run())
    events = asyncio.get_running_loop()
    for number in stop_signals():
        events.add_signal_handler(number, run.cancel)
    try:
        return await run
    except asyncio.CancelledError:
        raise StoppedError(
            "stopped by a signal; the outcome of the task at hand is unknown",
            hint="`agency workspace tasks list` names it",
        ) from None
