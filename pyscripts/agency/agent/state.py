"""State of a running agent: configuration, secrets, tasks, answers to changes, and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agency.agent.answers import Answers
from agency.agent.carrying import Carried
from agency.agent.gateway.link import GatewayLink
from agency.agent.held_secrets import HeldSecrets, Redeem
from agency.agent.tasks import TaskRegister
from agency.canonical import sha256_hex
from agency.clock import Clock, new_id
from agency.protocols import AgentEvent, ConfigDocument, EventKind, GatewayClient, TaskReport
from agency.web import Broadcast, Event

_MAX_LISTENERS = 8
_MAX_WAITING = 256

# Refuses a document that the agent cannot hold, by ValueError with a reason free of secrets.
CheckConfig = Callable[[bytes], None]


def any_document(_: bytes) -> None:
    """Accept every document: the agent keeps it, and enforces nothing of it yet."""


@dataclass(slots=True)
class AgentState:
    """State of one agent; `restart` is set when its process shall begin anew."""

    name: str
    clock: Clock
    redeem: Redeem | None = None
    check_config: CheckConfig = any_document
    incarnation: str = field(default_factory=lambda: new_id("run"))
    config: bytes | None = None
    gateway: GatewayLink | None = None
    restart: asyncio.Event = field(default_factory=asyncio.Event)
    events: Broadcast = field(
        default_factory=lambda: Broadcast(max_listeners=_MAX_LISTENERS, max_waiting=_MAX_WAITING)
    )
    answers: Answers = field(init=False)
    secrets: HeldSecrets = field(init=False)
    tasks: TaskRegister = field(init=False)
    _sequence: int = 0

    def __post_init__(self) -> None:
        self.answers = Answers(self.clock)
        self.secrets = HeldSecrets(self.clock, self.redeem)
        self.tasks = TaskRegister(self.clock, self._task_changed)

    @property
    def config_sha256(self) -> str | None:
        """Hash of the bytes that are held, computed from them each time."""
        return None if self.config is None else sha256_hex(self.config)

    def publish(
        self, kind: EventKind, *, trace: str | None = None, task: TaskReport | None = None
    ) -> None:
        """Tell the listeners of an event."""
        self._sequence += 1
        event = AgentEvent(
            agent=self.name,
            sequence=self._sequence,
            at=self.clock.now_iso(),
            kind=kind,
            trace=trace,
            config_sha256=self.config_sha256,
            task=task,
        )
        self.events.publish(Event(event.model_dump_json(), kind, str(self._sequence)))

    def link(self, client: GatewayClient) -> None:
        """Have a tool gateway, which gets the configuration and the servers' secrets."""
        self.gateway = GatewayLink(
            client, lambda: self.config, self.secrets, lambda: self.publish("approvals.changed")
        )
        self.gateway.start()

    def carried(self) -> Carried:
        """Return what a restart keeps."""
        config = None if self.config is None else ConfigDocument.of(self.config)
        return Carried(config=config, answers=self.answers.carried())

    def restore(self, carried: Carried) -> None:
        """Take over what a predecessor carried."""
        self.config = None if carried.config is None else carried.config.content
        self.answers.restore(carried.answers)

    async def close(self) -> None:
        """End all work, then let the listeners go."""
        await self.answers.close()
        if self.gateway is not None:
            await self.gateway.close()
        await self.tasks.close()
        self.events.close()

    def _task_changed(self, task: TaskReport) -> None:
        self.publish("task.state", trace=task.trace, task=task)
