"""Proxy as a process: from its configuration and credentials to a clean end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from agency.agent.proxy.accounting.ledger import open_ledger
from agency.agent.proxy.accounting.prepare import prepare
from agency.agent.proxy.calling import Caller, Record
from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.counters import Counters
from agency.agent.proxy.gate import Gate
from agency.agent.proxy.handlers import Handlers, limits_of
from agency.agent.proxy.policy import Policies
from agency.agent.proxy.requests.redacting import RequestRedactor
from agency.agent.proxy.upstream import Upstream, open_session
from agency.agent.recording import Recorder
from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.listening import Inherited, listen
from agency.protocols import AuditClient
from agency.secrets import MIN_LENGTH, Redactor, SecretValue, read_credential
from agency.signals import stop_signals
from agency.unix_sockets import listen_at
from agency.web import listen as serve_on
from agency.web import make_runner

_PLACE_HINT = "make its directory, for the proxy's user alone to write"
_SOCKET_MODE = 0o666  # who may speak is decided by tokens, as on a port

_log = logging.getLogger(__name__)


def read_keys(config: ProxyConfig) -> dict[str, SecretValue]:
    """Read all credentials, by name.

    Raises:
        PrerequisiteError: one is missing, too short, or not fit for an HTTP header.
    """
    keys = {name: read_credential(name) for name in config.credentials}
    for name, value in keys.items():
        if len(value.reveal().strip()) < MIN_LENGTH:
            raise PrerequisiteError(
                f"shorter than {MIN_LENGTH} characters: it would be found everywhere",
                where=f"credential {name}",
                hint="use a longer secret, or leave it out of redact",
            )
    for provider in config.providers.values():
        if provider.credential is None:
            continue
        key = keys[provider.credential].reveal()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise PrerequisiteError(
                "the key of a provider is not printable ASCII without spaces",
                where=f"credential {provider.credential}",
            )
    return keys


@asynccontextmanager
async def serving(
    config: ProxyConfig,
    keys: Mapping[str, SecretValue],
    clock: Clock,
    record: Callable[[Record], None],
    handed: Inherited | None = None,
) -> AsyncIterator[None]:
    """Serve until the block ends; `record` is told of each call that is settled.

    Raises:
        PrerequisiteError: the ledger is held by another process, or the port is taken.
    """
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(config.database, clock))
        session = await stack.enter_async_context(open_session(config.idle_s))
        gate = Gate(clock)
        counters = Counters(gate)
        caller = Caller(
            config,
            ledger,
            Upstream(session, keys, config.answer_bytes),
            counters,
            RequestRedactor(Redactor(keys.values())),
            clock,
            record,
        )
        app = Handlers(config, caller, counters, gate, Policies(config.models)).app()
        runner = make_runner(app, limits_of(config))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await serve_on(runner, _listening(config, stack, handed or Inherited()))
        yield


async def serve(config: ProxyConfig, clock: Clock, handed: Inherited | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `handed` may hold the listening socket.

    Raises:
        PrerequisiteError: a credential is missing, the ledger is held by another process, or the
            port is taken.
    """
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    keys = read_keys(config)
    await prepare(config.database)
    async with Recorder(AuditClient(config.audit_socket)) as recorder:
        record = partial(_put_on_record, recorder)
        async with serving(config, keys, clock, record, handed):
            _log.info("listening", extra={"fields": {"agents": len(config.accounts)}})
            await stopping.wait()
            _log.info("stopping")


def _listening(config: ProxyConfig, stack: AsyncExitStack, handed: Inherited) -> socket.socket:
    if config.socket is None:
        assert config.port is not None
        taken = handed.take(config.host, config.port)
        return taken or listen(config.port, config.host, hint="end that program")
    # The ledger is held, so that no other proxy of this configuration runs.
    made = listen_at(config.socket, mode=_SOCKET_MODE, hint=_PLACE_HINT)
    stack.callback(_removed, config.socket)
    return made


def _removed(path: Path) -> None:
    path.unlink(missing_ok=True)


def _put_on_record(recorder: Recorder, told: Record) -> None:
    recorder.put(
        "model.called",
        agent=told.agent,
        model=told.model,
        provider=told.provider,
        outcome=told.outcome,
        status=told.status,
        tokens=told.amount.tokens,
        cost_nanos=told.amount.nanos,
        reserved_tokens=told.reserved.tokens,
        request_sha256=told.request_sha256,
        duration_ms=told.duration_ms,
        call=told.call,
    )
