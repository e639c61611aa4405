"""Sentences about changes that were interrupted or failed: what is wished, seen, and comes next."""

from __future__ import annotations

from dataclasses import replace

from agency.control.execution.result import Result
from agency.control.store.agents import InventoryChange
from agency.control.store.audit import Outcome
from agency.control.wish import Desired, Wish

ENDED = "The control plane ended while this command ran, and it was not run again."
_AGAIN = "Send it again if it is still wanted."


def interrupted_text(
    target: str,
    *,
    asked: Wish | None,
    wish: Wish | None,
    seen: str,
    remedy: str = "",
    then: str = "",
) -> str:
    """Make the reply to an interrupted change, from observations made after convergence.

    Args:
        asked: What the command asked for; None if that is not known.
        wish: What is on record now.
        seen: The target's observed state.
        remedy: The answer to the change that the control plane made to fulfil the wish, if any.
        then: The change of the same target that comes next, if one waits.
    """
    said = [ENDED]
    if then:
        said += [f"Seen now: {seen}."] if seen else []
        return " ".join([*said, f"Next comes what waits behind it: {then}"])
    if wish is not None:
        said.append(f"{target} is {wish}.")
    if remedy:
        said.append(f"To that end the control plane acted: {remedy}")
    if seen:
        said.append(f"Seen now: {seen}.")
    if wish is None or asked is None or not _fulfils(wish, asked):
        said.append(_AGAIN)
    return " ".join(said)


def with_standing(target: str, wish: Wish, result: Result) -> Result:
    """Add to the reply of a failed change what is wished of its target from now on."""
    if result.outcome is not Outcome.FAILED:
        return result
    now, acted = wish, False
    for change in result.changes:
        if not isinstance(change, InventoryChange):
            continue
        if change.name == target and change.desired is not None:
            now, acted = Wish(change.desired, change.project), True
    return replace(result, text=f"{result.text}\n{standing(target, now, acted=acted)}")


def standing(target: str, wish: Wish, *, acted: bool) -> str:
    """Say what follows from a failed change; `acted` says that the target is as `wish` says."""
    if acted and wish.is_down:
        needs = "enables" if wish.desired is Desired.DISABLED else "starts"
        return f"{target} stays stopped until a command {needs} it."
    return f"{target} is still {wish}: the control plane tries that again."


def _fulfils(wish: Wish, asked: Wish) -> bool:
    """Return whether a wish on record is what a command asked for."""
    return wish.desired is asked.desired and asked.project in (None, wish.project)
