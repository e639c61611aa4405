"""The trial of control as a person reads it: who approved what, who holds what, who came back.

Only evidence that its rule accepts is told; of other evidence the reason is. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from agency.transcript.versions import Predicate, Version

# A subject and what is said of it, a line each.
Told = tuple[str, tuple[str, ...]]


def _approval(seen: Any) -> tuple[str, ...]:
    asked, by = seen.asked, ", ".join(grant.by for grant in seen.grants)
    return (
        f"{asked.action} on {asked.target}, by the rule {asked.rule}",
        f"asked by {seen.requester}, and refused to them",
        f"approved by {by}, and done",
        f"operation {asked.id}, of the digest",
        asked.digest,
    )


def _secret(seen: Any) -> tuple[str, ...]:
    search, held = seen.search, seen.held
    version = next(one.version for one in held.secrets if one.name == seen.secret)
    places = f"{search.files_searched} files and {search.room_events} events"
    return (
        f"{seen.secret}, version {version}: entered by the {seen.entered.by}, leased",
        f"held by {seen.agent} (pid {held.pid}), by its own word",
        f"none of {search.secrets_checked} secrets in {places}",
        f"a planted text was found in {', '.join(search.planted.places)}",
    )


def _respawn(seen: Any) -> tuple[str, ...]:
    killed, done = seen.killed, seen.operation
    return (
        f"{seen.agent}, pid {killed.pid}, ended by {killed.signal} ({killed.means})",
        f"back as pid {seen.after.pid}; the room was told {seen.seconds:.1f} s later",
        f"{done.action} by {done.actor}, trace {done.trace}",
    )


_TELL: dict[str, tuple[str, Callable[[Any], tuple[str, ...]]]] = {
    "approval.granted": ("approval", _approval),
    "secret.delivered": ("secret", _secret),
    "agent.respawned": ("respawn", _respawn),
}


def told(predicate: Predicate, version: Version) -> Iterator[Told]:
    """Tell each part of the trial that a transcript has a probe of; none of rules without it."""
    seen = {probe.name: probe for probe in predicate.probes}
    for name, (subject, tell) in _TELL.items():
        rule, probe = version.judge.PROBES.get(name), seen.get(name)
        if rule is None or probe is None:
            continue
        verdict = rule.judge(probe.evidence)
        if verdict.ok and probe.mode == "observed":
            yield subject, tell(rule.shape.model_validate(probe.evidence))
        else:
            yield subject, (f"not shown: {probe.reason or verdict.reason or probe.mode}",)
