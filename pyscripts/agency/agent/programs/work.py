"""One task of the builtin program as a process: from its configuration to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from agency.agent.models.client import Endpoint, ModelClient, WireFormat
from agency.agent.models.conversation import Answer, ModelRequest
from agency.agent.programs.builtin import Model, Run, Settings
from agency.agent.programs.gateway_tools import GatewayTools
from agency.agent.programs.journal import Journal
from agency.agent.programs.prompting import system_prompt
from agency.agent.programs.steps import Finish, StepLimits
from agency.agent.programs.tools import NoTools, Tools
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.gosuto import Document, read_canonical
from agency.secrets import read_credential
from agency.settings import Written, read_bounded
from agency.signals import stop_signals


class ModelAddress(Written):
    """Address of the proxy; `credential` is the one that holds this agent's token for it."""

    url: str = Field(pattern=r"^https?://[^\s?#@]+$")
    socket: Path | None = None
    format: WireFormat = "openai"
    credential: str = "model-token"


class GatewayAddress(Written):
    """Address of the agent's gateway; `credential` is the one that holds its token."""

    url: str = Field(default="http://gateway/mcp", pattern=r"^https?://[^\s?#@]+$")
    socket: Path | None = None
    credential: str = "gateway-token"


class WorkConfig(Written):
    """Configuration of the builtin program; it holds no secret."""

    gosuto: Path
    journal: Path | None = None  # None: of the task at hand alone
    model: ModelAddress
    gateway: GatewayAddress | None = None  # without one there are no tools
    audit_socket: Path | None = None  # of a machine that keeps an audit log
    default_model: str | None = None  # for a Gosuto that names none
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    turns: int = Field(default=50, ge=1, le=10_000)
    wall_s: float = Field(default=3600, gt=0, le=7 * 86_400)
    errors: int = Field(default=5, ge=1, le=100)


def read_policy(path: Path) -> Document:
    """Read the Gosuto in its canonical form.

    Raises:
        AgencyError: it cannot be read: no policy, no work.
    """
    hint = "it comes from the control plane; let the user of this program read it"
    content = read_bounded(path, what="the Gosuto", hint=hint)
    return read_canonical(content, sha256_hex(content))


@dataclass(slots=True)
class Counted:
    """Model whose tokens are counted, as its provider reports them."""

    model: Model
    tokens: int = 0

    async def ask(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Answer:
        """Ask; raises ModelError."""
        answer = await self.model.ask(request, on_text=on_text)
        self.tokens += (answer.usage.input or 0) + (answer.usage.output or 0)
        return answer


def settings_of(config: WorkConfig, document: Document, told: str | None = None) -> Settings:
    """Derive how the model is asked from persona and limits; `told` is a task's model. Pure.

    Raises:
        PrerequisiteError: the Gosuto names no model.
    """
    persona, most = document.persona, document.limits.tokens_per_request
    model = told or persona.model or config.default_model
    if model is None:
        raise PrerequisiteError(
            "the Gosuto names no model",
            where="persona.model",
            hint="set it to a model that the proxy allows this agent",
        )
    return Settings(
        model,
        system_prompt(document),
        config.max_tokens if most is None else min(config.max_tokens, most),
        persona.temperature,
        StepLimits(config.turns, config.wall_s, config.errors),
    )


def tools_of(config: WorkConfig) -> Tools:
    """Make the way to the tools."""
    if config.gateway is None:
        return NoTools()
    address = config.gateway
    return GatewayTools(address.url, read_credential(address.credential), address.socket)


@dataclass(frozen=True, slots=True)
class Worked:
    """End of a task, and the tokens that it took."""

    end: Finish
    tokens: int


async def work(
    config: WorkConfig,
    task: str,
    tools: Tools,
    clock: Clock,
    told: str | None = None,
    *,
    leaves: bool = False,
) -> Worked:
    """Work on a task until its end; SIGTERM interrupts, so that the next start goes on.

    Raises:
        AgencyError: policy, token or journal is missing.
        AgentAwayError: the agent ended meanwhile; only with `leaves`.
    """
    if config.journal is None:
        raise PrerequisiteError(
            "no journal is named", where="journal", hint="name a file of this task alone"
        )
    settings = settings_of(config, read_policy(config.gosuto), told)
    address = config.model
    socket = None if address.socket is None else str(address.socket)
    token = read_credential(address.credential)
    async with ModelClient(Endpoint(address.url, token, address.format, socket)) as model:
        with Journal(config.journal) as journal:
            counted = Counted(model)
            run = Run(settings, counted, tools, journal, clock, leaves=leaves)
            doing = asyncio.ensure_future(run.run(task))
            for number in stop_signals():
                asyncio.get_running_loop().add_signal_handler(number, doing.cancel)
            try:
                return Worked(await doing, counted.tokens)
            except asyncio.CancelledError:
                raise PrerequisiteError(
                    "interrupted before the end of the task",
                    where=str(config.journal),
                    hint="start it again with the same journal, and it goes on",
                ) from None
