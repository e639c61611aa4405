"""Which function runs which command, and what each of them is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from agency.clock import Clock
from agency.control.execution.handlers import agents, general, records
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import Handler
from agency.store import Database


def build_handlers(
    *, clock: Clock, database: Database, lifecycle: Lifecycle
) -> Mapping[str, Handler]:
    """The handler of every command, by the command's name."""
    return {
        "help": general.show_help,
        "ping": partial(general.ping, clock),
        "version": general.version,
        "agents list": partial(agents.list_agents, lifecycle),
        "agents show": partial(agents.show_agent, lifecycle),
        "agents start": partial(agents.start_agent, lifecycle),
        "agents stop": partial(agents.stop_agent, lifecycle),
        "agents restart": partial(agents.restart_agent, lifecycle),
        "agents status": partial(agents.agent_status, lifecycle),
        "agents logs": partial(agents.agent_logs, lifecycle),
        "audit tail": partial(records.audit_tail, database),
        "trace": partial(records.trace, database),
    }
