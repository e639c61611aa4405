"""Part `edge`: nginx on port 443 before Synapse and Element's site."""

from __future__ import annotations

from agency.spinup.targets.incus.parts.edge.part import EdgePart


def make() -> EdgePart:
    """See make_part."""
    return EdgePart()
