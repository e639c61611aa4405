"""The reconciler of a control plane, built from what its parts share."""

from __future__ import annotations

from agency.control.agents.history import Respawns
from agency.control.agents.reconciler import Reconciler
from agency.control.commands import GRAMMAR
from agency.control.execution.lifecycle import Lifecycle
from agency.control.matrix.sending import Sender
from agency.control.operations import Operations
from agency.control.service.shared import Shared
from agency.control.service.speaking import build_speaker


def build_reconciler(
    plane: Shared, lifecycle: Lifecycle, operations: Operations, sender: Sender
) -> Reconciler:
    """Build the loop that brings every agent to its wish."""
    limits = plane.config.limits
    return Reconciler(
        speaker=build_speaker(plane, sender),
        lifecycle=lifecycle,
        operations=operations,
        grammar=GRAMMAR,
        conditions=plane.conditions,
        rules=Respawns(
            limits.respawn_attempts,
            limits.respawn_wait_s,
            apart_s=limits.reconcile_interval_s / 2,
        ),
        every_s=limits.reconcile_interval_s,
        woken=plane.agents_changed,
    )
