"""Stage of the conversation: what a throwaway instance has so that all of it can be shown.

An approval takes a second person, and an agent that died is to be found at once. Where an
instance has not these, one that is made for a run alone gets them; a host is left as it is.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from agency import naming
from agency.instance import Instance

GATED = "secrets delete"
STAND_IN = "approver"  # accounts of a run, where the instance names too few people
INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage of one instance: who approves, and how often its agents are looked at."""

    approvers: tuple[str, ...]  # as many as must approve
    stand_ins: tuple[str, ...]  # those of them whom the instance does not name

    def of(self, instance: Instance) -> Instance:
        """Return the instance as it is staged."""
        approvers = [*instance.approvers, *self.stand_ins]
        return instance.model_copy(
            update={"approvers": approvers, "reconcile_interval": INTERVAL_S}
        )

    def write(self, document: MutableMapping[str, Any]) -> None:
        """Stage an instance.yaml, as loaded."""
        if self.stand_ins:
            document["approvers"] = [*(document.get("approvers") or ()), *self.stand_ins]
        document["reconcileInterval"] = INTERVAL_S


def quorum(instance: Instance) -> int:
    """Return how many people must approve the gated command of the conversation."""
    rules = instance.approvals.rules.values()
    return max((rule.quorum for rule in rules if GATED in rule.commands), default=1)


def colleagues(instance: Instance) -> tuple[str, ...]:
    """List who may approve what the first operator asks for, of those with an account here."""
    first, *others = instance.operators
    suffix = f":{instance.domain}"
    return tuple(
        who for who in (*others, *instance.approvers) if who != first and who.endswith(suffix)
    )


def stage(instance: Instance) -> Stage:
    """Make the stage of an instance."""
    needed, known = quorum(instance), colleagues(instance)
    named = {*instance.operators, *instance.approvers, *instance.viewers}
    number, made = 1, list[str]()
    while len(known) + len(made) < needed:
        suffix = "" if number == 1 else f"-{number}"
        who = naming.matrix_id(f"{STAND_IN}{suffix}", instance.domain)
        number += 1
        if who not in named:
            made.append(who)
    return Stage((*known, *made)[:needed], tuple(made))
