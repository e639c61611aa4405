"""Numbers of operations, for metrics and status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from agency.control.operation import FINAL, State


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of operations: those that wait for an approval, and those that run or are queued.

    `ended` counts those that ended since the start, by action and last state.
    """

    waiting: int = 0
    active: int = 0
    ended: Mapping[tuple[str, State], int] = field(default_factory=dict)

    def by_noun(self, nouns: tuple[str, ...]) -> dict[tuple[str, State], int]:
        """Return what ended by noun and state, zeros included; other nouns count as `other`.

        The number of pairs is that of the nouns and of the states, whatever was asked.
        """
        found: Counter[tuple[str, State]] = Counter()
        for (action, state), number in self.ended.items():
            noun = action.partition(" ")[0]
            found[noun if noun in nouns else "other", state] += number
        pairs = ((noun, state) for noun in (*nouns, "other") for state in sorted(FINAL))
        return {pair: found[pair] for pair in pairs}
