"""A task of the agent's task loop, done by the builtin program.

    task loop ─ AGENCY_TASK ─▶ agency agent work --assigned ─▶ proxy, gateway
        └──── AGENCY_TASK_RESULT: one line, and the tokens ◀──┘

The journal lies beside the task and ends with it. Where the agent itself ended meanwhile, its
tokens count no more: the result says that it is away, and the task loop starts this again, with the
tokens of the agent's next start and the same journal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agency.agent.programs.builtin import AgentAwayError
from agency.agent.programs.steps import Ending
from agency.agent.programs.work import WorkConfig, Worked, tools_of, work
from agency.agent.recording import Recorder
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.errors import AgencyError, UsageError
from agency.files import is_absent, write_atomically
from agency.protocols import AuditClient
from agency.secrets import has_credential
from agency.settings import load
from agency.unix_sockets import short_path

MODEL_TOKEN = "model-token"  # noqa: S105 - the credential's name
TASK, RESULT = "AGENCY_TASK", "AGENCY_TASK_RESULT"
MAX_NOTE = 400  # characters; the sheet of the tasks has one line for it
_LEFT_S = 5.0  # of the task's time, to tell what came of it


class Given(BaseModel):
    """Task as the task loop hands it over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(max_length=200)
    description: str = Field(max_length=256 * 1024)
    source: str | None = None
    run: str
    timeout_s: float = Field(gt=0)
    context: str = ""
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Handed:
    """The two files of a task: what is to be done, and where is told what came of it."""

    task: Path
    result: Path


def handed(environment: Mapping[str, str]) -> Handed:
    """Find the files of the task.

    Raises:
        UsageError: a task loop did not start this.
    """
    task, result = environment.get(TASK), environment.get(RESULT)
    if not task or not result:
        raise UsageError(
            "no task is assigned",
            where=f"{TASK}, {RESULT}",
            hint="`agency workspace task-loop` starts it with both; else leave --assigned out",
        )
    return Handed(Path(task), Path(result))


def task_text(given: Given) -> str:
    """Write a task as the program reads it. Pure."""
    where = f" It came from {given.source}." if given.source else ""
    order = "Do it with your tools, then say in one line what came of it."
    what = f"Your task list has the task {given.name}.{where} {order}"
    return "\n\n".join(part for part in (what, given.description, given.context) if part)


def result_of(worked: Worked) -> dict[str, object]:
    """Write what came of a task, for the task loop. Pure."""
    end = worked.end
    said = end.said if end.ending is Ending.ANSWERED else f"{end.ending.value}: {end.said}"
    return {"note": " ".join(said.split())[:MAX_NOTE], "tokens": worked.tokens}


async def work_assigned(config_file: Path, files: Handed, clock: Clock) -> Worked:
    """Do the task, and tell what came of it, or that the agent is away.

    Raises:
        AgencyError: task or policy cannot be read, or the result cannot be written.
        PrerequisiteError: the agent is away, or ended meanwhile; nothing of it is lost.
    """
    given = load(files.task, Given, what="the task", hint="the task loop writes it")
    try:
        config = load(config_file, WorkConfig, what="the configuration", hint="see docs/models.md")
        _refuse_without_policy(config)
        return await _worked(config, given, files, clock)
    except AgencyError as error:
        if isinstance(error, AgentAwayError) or not _is_handed_over(config_file):
            tell_away(files, error)
        raise


def _is_handed_over(config_file: Path) -> bool:
    """Return whether there is what a start of the agent writes, and its end removes."""
    return not is_absent(config_file) and has_credential(MODEL_TOKEN)


def _refuse_without_policy(config: WorkConfig) -> None:
    """Refuse to begin while the agent has no Gosuto, which comes to it after its start.

    Raises:
        AgentAwayError: it has none yet.
    """
    if is_absent(config.gosuto):
        raise AgentAwayError(
            "the agent has no Gosuto yet",
            where=str(config.gosuto),
            hint="it comes from the control plane after a start: `gosuto push` sends it again",
        )


async def _worked(config: WorkConfig, given: Given, files: Handed, clock: Clock) -> Worked:
    told = {
        "journal": files.task.with_name("journal"),
        "wall_s": max(1.0, min(config.wall_s, given.timeout_s - _LEFT_S)),
    }
    text = task_text(given)
    with _reached(config.model_copy(update=told)) as within:
        async with recording(config.audit_socket, given, text) as record:
            try:
                tools = tools_of(within)
                worked = await work(within, text, tools, clock, given.model, leaves=True)
            except AgentAwayError:
                record["outcome"] = "away"
                raise
            record["outcome"] = worked.end.ending.value
    tell(files, worked)
    return worked


def tell(files: Handed, worked: Worked) -> None:
    """Tell the task loop what came of the task."""
    _write(files, result_of(worked))


def tell_away(files: Handed, error: AgencyError) -> None:
    """Tell the task loop that the agent is away."""
    _write(files, {"note": error.message[:MAX_NOTE], "away": True})


def _write(files: Handed, told: dict[str, object]) -> None:
    write_atomically(files.result, json.dumps(told).encode(), mode=0o600)


@contextmanager
def _reached(config: WorkConfig) -> Iterator[WorkConfig]:
    """Name the gateway's socket so that unix(7) takes it: this is not started where it lies."""
    gateway = config.gateway
    if gateway is None or gateway.socket is None:
        yield config
        return
    with short_path(gateway.socket) as name:
        near = gateway.model_copy(update={"socket": Path(name)})
        yield config.model_copy(update={"gateway": near})


@asynccontextmanager
async def recording(
    audit_socket: Path | None, given: Given, text: str
) -> AsyncIterator[dict[str, str]]:
    """Put begin and end of the task on record, where the machine keeps an audit log."""
    told = {"outcome": "unknown"}
    if audit_socket is None:
        yield told
        return
    digest = sha256_hex(text.encode(errors="surrogatepass"))
    fields = {"task": given.name, "run": given.run, "asked_sha256": digest}
    async with Recorder(AuditClient(audit_socket)) as recorder:
        recorder.put("task.taken", **fields)
        try:
            yield told
        finally:
            recorder.put("task.ended", **fields, **told)
