"""Plan for the Gosuto of one agent that runs as wished: given again, or noticed as altered. Pure.

A run that begins holds nothing, and one that was given an older version holds that: it is given the
newest, and nothing is said. One that holds what nobody gave it is given the newest, too, and the
room is told once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agency.control.agents.history import Difference, Episode, Holding, Respawns
from agency.control.agents.seen import Document


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """Conclusion for one document. `holding` is remembered from now on.

    Attributes:
        push: The newest version is given to the agent.
        noticed: An alteration that is seen first now.
        mended: An alteration that is over, and that the room is told of now.
    """

    holding: Holding
    push: bool = False
    noticed: Episode | None = None
    mended: Episode | None = None


def plan_document(
    document: Document,
    before: Holding,
    rules: Respawns,
    now_s: float,
    trace: str,
    *,
    act: bool,
    tell: bool,
) -> DocumentPlan:
    """Plan for the document of one agent; `trace` is for an alteration that is seen first now."""
    same = (before.run, before.newest) == (document.run, document.newest)
    holding = before if same else Holding(document.run, document.newest)
    if document.held == document.newest:
        return _held(holding, rules, now_s, tell=tell)
    noticed = None
    altered = holding.had or not (document.held is None or document.is_version)
    if altered and holding.altered is None and not holding.told:
        noticed = Episode(Difference.ALTERED, _what(document), trace)
        holding = replace(holding, altered=noticed)
    holding = replace(holding, right_s=None)
    if not act or now_s < holding.next_s or holding.pushes >= rules.most:
        return DocumentPlan(holding, noticed=noticed)
    pushes = holding.pushes + 1
    given = replace(holding, pushes=pushes, next_s=now_s + rules.wait_s(pushes))
    return DocumentPlan(given, push=True, noticed=noticed)


def _held(holding: Holding, rules: Respawns, now_s: float, *, tell: bool) -> DocumentPlan:
    """Forget pushes that lasted, and tell of an alteration that is over."""
    right_s = now_s if holding.right_s is None else holding.right_s
    holding = replace(holding, right_s=right_s, had=True)
    if holding.pushes and now_s - right_s >= rules.stable_s:
        holding = replace(holding, pushes=0, next_s=0.0)
    if holding.altered is None or not tell:
        return DocumentPlan(holding)
    return DocumentPlan(replace(holding, altered=None, told=True), mended=holding.altered)


def _what(document: Document) -> str:
    if document.held is None:
        return f"it held no Gosuto any more, not version {document.number}"
    kind = "an old version of its Gosuto" if document.is_version else "a Gosuto that nobody gave it"
    return f"it held {kind}, sha256:{document.held}, not version {document.number}"
