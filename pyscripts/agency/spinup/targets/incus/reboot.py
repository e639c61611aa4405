"""Rebooting the whole guest, and seeing that what was there before is there again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from agency.clock import Clock
from agency.errors import AgencyError
from agency.guests import Guest
from agency.machine import MachineError, units
from agency.matrix import client_path
from agency.spinup.convergence import firewall_digest
from agency.spinup.examination import Subject
from agency.spinup.probes import control as control_probes
from agency.spinup.record import Evidence
from agency.spinup.remote.agents_audit import AgentsAudit
from agency.spinup.scenario.conversation import Conversation

_POLL_S = 0.2
_MEMBERS = "joined"


@dataclass(frozen=True, slots=True)
class Before:
    """What a guest held before it was rebooted."""

    boot_id: str
    audit: Evidence
    agents_audit: tuple[Evidence, ...]  # the end of each agent's log
    members: tuple[str, ...]
    event: str
    text: str
    firewall: str  # the digest of the rules for what agents send
    units: tuple[str, ...]  # the names of those that run, before and after

    @classmethod
    async def observe(
        cls,
        guest: Guest,
        subject: Subject,
        talk: Conversation,
        agents_audit: AgentsAudit,
        names: tuple[str, ...],
    ) -> Before:
        """Say something in the control room, and note what is there; `names` are of units.

        Raises:
            MatrixError: the homeserver does not answer as it did.
            MachineError: the agents' audit log cannot be read.
        """
        text = "Before the reboot"
        event = await talk.operator.say(talk.room, text, talk.new_txn())
        chain = await subject.observe("audit.chain")
        return cls(
            boot_id=await guest.boot_id(),
            audit={"count": chain["count"], "head": chain["head"]},
            agents_audit=tuple(await agents_audit.heads()),
            members=await _members(talk),
            event=event,
            text=text,
            firewall=await firewall_digest(guest),
            units=names,
        )


async def _members(talk: Conversation) -> tuple[str, ...]:
    path = client_path("rooms", talk.room, "joined_members")
    return tuple(sorted((await talk.operator.request("GET", path))[_MEMBERS]))


async def reboot(
    guest: Guest,
    subject: Subject,
    talk: Conversation,
    agents_audit: AgentsAudit,
    before: Before,
    *,
    clock: Clock,
    timeout_s: float,
) -> Evidence:
    """Reboot and look: all runs again behind the same firewall, the same door opens with the same
    token, and the records are whole.

    Raises:
        MachineError: it does not come back, or its control plane does not.
        MatrixError: the homeserver does not know the person or the message any more.
    """
    started = clock.steady()
    state = await guest.reboot(timeout_s=timeout_s)
    await _until_ready(subject, timeout_s=timeout_s)
    seconds = round(clock.steady() - started, 3)
    whoami = await talk.operator.request("GET", client_path("account", "whoami"))
    event = await talk.operator.request(
        "GET", client_path("rooms", talk.room, "event", before.event)
    )
    if event["content"].get("body") != before.text:
        raise MachineError("the message from before reads otherwise", where=guest.name)
    chain = await subject.observe("audit.chain")
    running = await units.show(guest, before.units)
    return {
        "bootIdBefore": before.boot_id,
        "bootIdAfter": await guest.boot_id(),
        "state": state.state,
        "units": [unit.as_dict() for unit in running.values()],
        "firewallBefore": before.firewall,
        "firewallAfter": await firewall_digest(guest),
        "auditBefore": before.audit,
        "kept": await subject.observe("audit.row", {"sequence": int(before.audit["count"])}),
        "auditAfter": {"count": chain["count"], "head": chain["head"]},
        "chainVerified": chain["verified"],
        "agentsAuditKept": await agents_audit.keeps(before.agents_audit),
        "userId": whoami["user_id"],
        "roomMembersBefore": list(before.members),
        "roomMembersAfter": list(await _members(talk)),
        "eventId": event["event_id"],
        "readyAfterS": seconds,
    }


async def _until_ready(subject: Subject, *, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            # A program in another machine: there is no event to wait for.
            while not await _is_ready(subject):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise MachineError(
            f"the control plane is not ready {timeout_s:g} s after the reboot",
            where=subject.control_url,
        ) from error


async def _is_ready(subject: Subject) -> bool:
    try:
        seen = await control_probes.ready(subject.session, subject.control_url)
    except (AgencyError, OSError, ValueError, aiohttp.ClientError):
        return False
    return seen["status"] == 200 and seen["ready"] is True
