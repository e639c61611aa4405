"""Reboot of the whole guest: what was there before is there again."""

from __future__ import annotations

import asyncio

import aiohttp

from agency.errors import AgencyError
from agency.guests import Guest
from agency.machine import MachineError, units
from agency.matrix import client_path
from agency.secrets import MATRIX_HS_TOKEN
from agency.spinup.convergence import firewall_digest
from agency.spinup.examination import Subject
from agency.spinup.probes import control as control_probes
from agency.spinup.record import Evidence
from agency.spinup.remote.agents_audit import AgentsAudit
from agency.spinup.scenario.conversation import Conversation
from agency.spinup.targets.incus.watch import Watch

_POLL_S = 0.2
_TEXT = "Before the reboot"


async def reboot(
    watch: Watch,
    subject: Subject,
    talk: Conversation,
    agents_audit: AgentsAudit,
    running: tuple[str, ...],
    *,
    timeout_s: float,
) -> Evidence:
    """Reboot a guest, and look before and after it.

    The units `running` run again behind the same firewall, the same door opens with the same token,
    and the records are whole.

    Raises:
        MachineError: it does not come back, or its control plane does not.
        MatrixError: the homeserver does not know the person or the message any more.
    """
    guest, clock = watch.guest, watch.recorder.clock
    said = await talk.operator.say(talk.room, _TEXT, talk.new_txn())
    before, _ = await _facts(guest, subject, talk)
    heads = await agents_audit.heads()
    with watch.asleep():
        started = clock.steady()
        state = await guest.reboot(timeout_s=timeout_s)
        await _until_ready(subject, timeout_s=timeout_s)
        seconds = round(clock.steady() - started, 3)
    whoami = await talk.operator.request("GET", client_path("account", "whoami"))
    event = await talk.operator.request("GET", client_path("rooms", talk.room, "event", said))
    if event["content"].get("body") != _TEXT:
        raise MachineError("the message from before reads otherwise", where=guest.name)
    after, verified = await _facts(guest, subject, talk)
    shown = await units.show(guest, running)
    return {
        **{f"{fact}Before": seen for fact, seen in before.items()},
        **{f"{fact}After": seen for fact, seen in after.items()},
        "state": state.state,
        "units": [unit.as_dict() for unit in shown.values()],
        "kept": await subject.observe("audit.row", {"sequence": int(before["audit"]["count"])}),
        "chainVerified": verified,
        "agentsAuditKept": await agents_audit.keeps(heads),
        "userId": whoami["user_id"],
        "eventId": event["event_id"],
        "readyAfterS": seconds,
    }


async def _facts(guest: Guest, subject: Subject, talk: Conversation) -> tuple[Evidence, bool]:
    """Look at what is compared; return it, and whether the audit chain verifies."""
    chain = await subject.observe("audit.chain")
    path = client_path("rooms", talk.room, "joined_members")
    members = (await talk.operator.request("GET", path))["joined"]
    facts = {
        "bootId": await guest.boot_id(),
        "firewall": await firewall_digest(guest),
        "audit": {"count": chain["count"], "head": chain["head"]},
        "roomMembers": sorted(members),
    }
    return facts, chain["verified"]


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
        token = subject.secret(MATRIX_HS_TOKEN)
        seen = await control_probes.ready(subject.session, subject.control_url, token)
    except (AgencyError, OSError, ValueError, aiohttp.ClientError):
        return False
    return seen["status"] == 200 and seen["ready"] is True
