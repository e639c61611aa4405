"""The staff of a control plane, built from what its parts share."""

from __future__ import annotations

from collections.abc import Collection

from agency.control.agents.drafts import Drafts
from agency.control.agents.staff import Staff
from agency.control.agents.tasks import Tasks
from agency.control.execution.lifecycle import Lifecycle
from agency.control.service.shared import Shared
from agency.control.service.vaulting import VaultService


def build_staff(plane: Shared, lifecycle: Lifecycle, vault: VaultService | None) -> Staff:
    """Build what makes and deletes agents, and keeps their accounts."""

    def wake() -> None:
        if plane.keeper is not None:
            plane.keeper.wake()

    def people() -> Collection[str]:
        every = plane.running().rules.policy.people.everybody
        return {*every, *plane.config.members, plane.config.bot_id}

    plane.staff = Staff(
        inventory=plane.inventory,
        lifecycle=lifecycle,
        accounts=plane.room.accounts,
        members=plane.room.agents,
        runtime=plane.config.runtime,
        domain=plane.config.domain,
        room_id=lambda: plane.room_id,
        records=plane.records,
        wake=wake,
        tasks=Tasks(lifecycle, plane.acp),
        people=people,
        draft=Drafts(plane.database, lambda: plane.room_id),
    )
    if vault is not None:
        plane.staff.release = vault.vault.release
    return plane.staff
