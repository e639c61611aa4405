"""Running the loop of an agent as its unit does: settings, performer, signals."""

from __future__ import annotations

import asyncio
import logging

from agency.errors import AgencyError, PrerequisiteError
from agency.signals import stop_signals
from agency.workspace.config import AgentSettings, feature_off
from agency.workspace.incidents.model import EXAMPLES, Issues, Shared, issue_rules
from agency.workspace.incidents.shared import DIRECTORY as SHARED
from agency.workspace.incidents.shared import known_text, publish, read_shared
from agency.workspace.sheets import read_sheet
from agency.workspace.tasks.intake import take_due
from agency.workspace.tasks.loop import Loop, Report
from agency.workspace.tasks.performer import CommandPerformer
from agency.workspace.tasks.place import TaskPlace
from agency.workspace.tasks.scheduler import Limits

_LOG = logging.getLogger(__name__)


def loop_of(agent: AgentSettings, place: TaskPlace) -> Loop:
    """Make the loop of an agent, after due schedules came into its list.

    Raises:
        PrerequisiteError: the feature is off, or nothing is configured that does tasks.
    """
    found = agent.task_loop
    if found is None:
        raise feature_off(agent.name, "taskLoop")
    if not found.command:
        option = f"agency.agents.{agent.name}.taskLoop.command"
        raise PrerequisiteError("nothing is configured that does tasks", where=option)
    take_due(place)
    return Loop(
        context=_known(agent, place),
        place=place,
        performer=CommandPerformer(found.command, place.state, agent.home),
        limits=Limits(
            max_tasks=found.max_tasks,
            max_wall_s=found.max_wall_time,
            max_errors=found.max_errors,
            max_tokens=found.max_tokens,
        ),
        model=found.model,
    )


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
