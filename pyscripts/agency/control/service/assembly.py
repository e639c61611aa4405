"""The parts of a control plane, each built from what they share."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agency.control.agents.inventory import MatrixIds
from agency.control.alerts.intake import AlertIntake
from agency.control.appservice.access import OwnNames
from agency.control.appservice.alerts import AlertsPage
from agency.control.appservice.readiness import Readiness
from agency.control.appservice.refusals import Refusals
from agency.control.appservice.server import AppService
from agency.control.appservice.transactions import Intake
from agency.control.commands import GRAMMAR, Services, looks_like_command, parse
from agency.control.commands.registry import build_handlers
from agency.control.execution.address import speaks_to, without_mention
from agency.control.execution.classify import Rules
from agency.control.execution.lifecycle import Lifecycle
from agency.control.gosuto.planning import GosutoPlans
from agency.control.matrix.sending import Sender
from agency.control.operations import Operations
from agency.control.operations.admitting.admission import Bounds
from agency.control.rooms.deletions import Deletions
from agency.control.service.asking import AskingService, meaning
from agency.control.service.documents import build_desk, build_file_documents
from agency.control.service.notices import Notices
from agency.control.service.shared import Shared, Tokens, new_trace
from agency.control.service.speaking import build_speaker
from agency.control.service.staffing import build_staff
from agency.control.service.targets import AgentTargets
from agency.control.service.vaulting import VaultService
from agency.control.store import agents
from agency.control.store.passwords import url_secrets
from agency.matrix import Backoff
from agency.secrets import Redactor, SecretValue

if TYPE_CHECKING:
    from agency.control.backups.desk import BackupDesk


def build_lifecycle(plane: Shared, tokens: Tokens) -> Lifecycle:
    """Build what starts, stops and asks agents."""
    return Lifecycle(
        agents=plane.inventory,
        runtime=plane.runtime,
        acp=plane.acp,
        limits=plane.config.limits,
        records=plane.records,
        secrets=secrets_of(plane, tokens),
        read=plane.some_records,
        is_created=plane.inventory.is_created,
    )


def build_sender(plane: Shared) -> Sender:
    """Build what sends the outbox to the homeserver."""
    return Sender(
        database=plane.database,
        api=plane.api,
        clock=plane.clock,
        attempts=plane.config.limits.send_attempts,
        backoff=Backoff(),
        settled=plane.inbox_wake,
        answered=plane.answered,
        given_up=plane.refused_to_send,
    )


def build_notices(plane: Shared, sender: Sender) -> Notices:
    """Build what tells the room of conditions that change."""
    return Notices(build_speaker(plane, sender), plane.conditions)


def build_appservice(
    plane: Shared, tokens: Tokens, sender: Sender, vault: VaultService | None = None
) -> AppService:
    """Build what the homeserver calls: intake, readiness, pages."""
    config = plane.config
    intake = Intake(
        database=plane.database,
        clock=plane.clock,
        new_trace=new_trace,
        looks_like_command=lambda text: looks_like_command(without_mention(text, config.bot_id)),
        speaks_to_us=lambda event: speaks_to(event, config.bot_id),
        max_inbox=config.limits.max_inbox,
        wake=plane.inbox_wake,
        conditions=plane.conditions,
        take_back=Deletions(
            plane.clock,
            config.policy,
            Bounds(GRAMMAR, config.limits.max_command_bytes, config.limits.approval_wait_s),
        ),
        forget=plane.withdrawn,
        changed=plane.room_changed,
        resolve=partial(meaning, config.policy),
    )
    readiness = Readiness(
        database=plane.database,
        api=plane.api,
        intake=intake,
        clock=plane.clock,
        bot_id=config.bot_id,
        room_id=lambda: plane.room_id,
        conditions=plane.conditions,
    )
    return AppService(
        hs_token=tokens.hs_token,
        intake=intake,
        max_body=config.limits.max_transaction_bytes,
        user_exists=plane.is_own,
        alias_exists=plane.has_alias,
        readiness=readiness.observe,
        is_ready=readiness.is_ready,
        answered=plane.wait_for_answer,
        stopping=plane.stopping.is_set,
        conditions=plane.conditions,
        refusals=Refusals(plane.conditions),
        names=OwnNames(config.listen_host),
        numbers=readiness.numbers,
        nouns=GRAMMAR.nouns,
        tally=plane.tally,
        alerts=_alerts(plane, tokens, sender),
        entry=None if vault is None else vault.page,
    )


def build_operations(
    plane: Shared,
    lifecycle: Lifecycle,
    room_id: str,
    sender: Sender,
    vault: VaultService | None = None,
    asking: AskingService | None = None,
) -> Operations:
    """Build the operations, with the handler of each command; they have no room yet."""
    desk = build_desk(plane)
    plane.services = Services(
        plane.clock,
        plane.database,
        lifecycle,
        GRAMMAR,
        plane.conditions,
        decisions=lambda: plane.running().decisions,
        safety=lambda: plane.running().safety,
        staff=build_staff(plane, lifecycle, vault),
        gosuto=lambda: desk,
        started_s=plane.clock.steady(),
        tokens=lambda: plane.http.tokens,
        settings=lambda: plane.http.settings,
        backups=partial(_backups, plane),
        asking=None if asking is None else asking.desk,
        instance=plane.config.instance,
        **({} if vault is None else {"secrets": lambda: vault.desk}),
    )
    handlers = build_handlers(plane.services)
    return Operations(
        database=plane.database,
        clock=plane.clock,
        rules=replace(
            Rules.from_config(plane.config, room_id, looks_like_command),
            agents=MatrixIds(plane.inventory),
        ),
        grammar=GRAMMAR,
        handler=lambda command: handlers[command.name],
        targets=AgentTargets(
            lifecycle,
            {} if vault is None else {"secret": vault.desk.describe},
            lambda record: plane.database.read(lambda c: agents.is_dismissed(c, record)),
        ),
        take_away=plane.taker.take_away,
        hand_in=build_file_documents(plane),
        approval_wait_s=plane.config.limits.approval_wait_s,
        max_command_bytes=plane.config.limits.max_command_bytes,
        max_outbox=plane.config.limits.max_outbox,
        max_target_queue=plane.config.limits.max_target_queue,
        wake=plane.inbox_wake,
        say=sender.offer,
        obstacle=plane.voice.obstacle,
        applied=plane.follow,
        asking_room=plane.asking_room,
        plan=GosutoPlans(
            plane.inventory, partial(parse, max_bytes=4 * plane.config.limits.max_command_bytes)
        ),
        card_pace_s=plane.config.limits.card_pace_s,
        has_room=False,
    )


def _backups(plane: Shared) -> BackupDesk:
    """Build the desk for backups when a command asks: it loads D-Bus, which few machines need."""
    from agency.control.backups.desk import BackupDesk

    return BackupDesk(plane.config.backup, plane.clock)


def _alerts(plane: Shared, tokens: Tokens, sender: Sender) -> AlertsPage | None:
    if tokens.alerts is None:
        return None
    intake = AlertIntake(
        build_speaker(plane, sender),
        plane.conditions,
        Redactor(secrets_of(plane, tokens)).redact,
    )
    return AlertsPage(tokens.alerts, intake, plane.stopping.is_set)


def secrets_of(plane: Shared, tokens: Tokens) -> tuple[SecretValue, ...]:
    """Return the values that no log, reply or line may show."""
    return (*tokens.all(), *url_secrets(plane.config.database_url))
