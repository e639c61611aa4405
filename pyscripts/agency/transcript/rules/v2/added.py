"""Rules of the probes that v1 does not know: for each, the shape of its evidence and its rule.

A part is what a run examines beside what every run does (`spinup_smoke --with`). All probes of a
part are mandatory in a transcript whose profile names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agency.transcript.rules.v1.rule import ProbeRule
from agency.transcript.rules.v2 import agents, alerts, backup, control, edge, recipes, shop

PARTS: Mapping[str, tuple[ProbeRule, ...]] = {
    "agents": agents.RULES,
    "alerts": alerts.RULES,
    "edge": edge.RULES,
    "backup": backup.RULES,
    "recipes": recipes.RULES,
}
_OF_PARTS = tuple(rule for rules in PARTS.values() for rule in rules)

RULES: tuple[ProbeRule, ...] = (*control.RULES, *shop.RULES, *_OF_PARTS)


def of_profile(profile: Iterable[str]) -> frozenset[str]:
    """Name the probes that a profile makes mandatory."""
    return frozenset(rule.name for part in profile for rule in PARTS.get(part, ()))
