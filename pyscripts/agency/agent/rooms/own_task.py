"""A task of the agent's task loop, done by its command-line agent.

    task loop ─ AGENCY_TASK ─▶ agency agent work --assigned ─▶ agency agent command ─▶ the agent

It is started as for a message in a room: with the same policy, tokens and network of its own. It
keeps no journal: if its own agent ended meanwhile it begins again, and is told so.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from agency.agent.programs.assigned import Given, Handed, recording, task_text, tell, tell_away
from agency.agent.programs.builtin import AgentAwayError
from agency.agent.programs.steps import Ending, Finish
from agency.agent.programs.tools import NoTools
from agency.agent.programs.work import Worked, read_policy
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.own_agent import OwnAgent, OwnAgentError
from agency.agent.rooms.program import Assignment
from agency.errors import AgencyError
from agency.secrets import read_credential
from agency.settings import Written, load
from agency.signals import stop_signals

_LEFT_S = 5.0  # of the task's time, to tell what came of it


class OwnTask(Written):
    """Configuration in place of the builtin program's: that of the agent in rooms, and where."""

    chat: Path
    directory: Path


def own_task_of(config_file: Path) -> OwnTask | None:
    """Read the configuration, if it is of a command-line agent and there."""
    with suppress(OSError, ValidationError):
        return OwnTask.model_validate_json(config_file.read_bytes())
    return None


async def work_own(own: OwnTask, files: Handed) -> Worked:
    """Have the agent do the task, and tell what came of it, or that the agent is away.

    Raises:
        AgencyError: task or policy cannot be read, or the result cannot be written.
        AgentAwayError: the agent is away, or ended meanwhile.
    """
    given = load(files.task, Given, what="the task", hint="the task loop writes it")
    try:
        os.chdir(own.directory)  # sockets are named from there; this process does one task
        hint = "the control plane writes it when it starts the agent"
        config = load(own.chat, ChatConfig, what="the configuration", hint=hint)
        token = read_credential(config.model.credential)
    except (OSError, AgencyError) as error:
        away = AgentAwayError(f"the agent is away: {error}", where=str(own.chat))
        tell_away(files, away)
        raise away from error
    finish = await _finish(config, given)
    if finish.ending is not Ending.ANSWERED and _is_another(token.digest(), config):
        away = AgentAwayError(f"the agent ended meanwhile: {finish.said}", where=str(own.chat))
        tell_away(files, away)
        raise away
    worked = Worked(finish, 0)
    tell(files, worked)
    return worked


def _is_another(digest: str, config: ChatConfig) -> bool:
    """Return whether the token is not that of the beginning: the agent was ended, or started."""
    try:
        return read_credential(config.model.credential).digest() != digest
    except AgencyError:
        return True


async def _finish(config: ChatConfig, given: Given) -> Finish:
    assert config.command is not None, "its configuration is written for a command alone"
    wall_s = max(1.0, min(config.wall_s, given.timeout_s - _LEFT_S))
    bounded = config.model_copy(update={"wall_s": wall_s})
    agent = OwnAgent(bounded, config.command, Path(os.environ["CREDENTIALS_DIRECTORY"]))
    text = task_text(given)
    asked = Assignment(given.run, "", "", config.agent, text, is_task=True)
    async with recording(config.audit_socket, given, text) as record:
        doing = asyncio.ensure_future(
            agent.work(asked, read_policy(config.gosuto), NoTools(), lambda _: None)
        )
        for number in stop_signals():
            asyncio.get_running_loop().add_signal_handler(number, doing.cancel)
        try:
            said = await doing
        except OwnAgentError as error:
            record["outcome"] = Ending.ERRORS.value
            return Finish(Ending.ERRORS, error.message)
        agent.forget(asked)
        record["outcome"] = Ending.ANSWERED.value
        return Finish(Ending.ANSWERED, said)
