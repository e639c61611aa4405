"""Part `agents`: a developer does one task, with a scripted model in the guest.

person ─▶ room ─▶ account ─▶ proxy ─▶ scripted model (scripted.py)
                     └─▶ gateway ─▶ tool server (tools.py): a repository with a failing test
"""

from __future__ import annotations

from agency.spinup.targets.incus.parts.agents.part import AgentsPart


def make() -> AgentsPart:
    """See make_part."""
    return AgentsPart()
