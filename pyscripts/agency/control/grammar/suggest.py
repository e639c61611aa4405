"""Suggestions for misspelled words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MAX_WORD = 64


def distance(left: str, right: str, most: int) -> int:
    """Count the edits between two words, at most `most` + 1: insert, delete, change, swap.

    This is the optimal string alignment distance.
    """
    if abs(len(left) - len(right)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last = row, before
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return min(row[-1], most + 1)


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that `word` misspells; the first of several equally near ones.

    A misspelling differs in case, is a prefix, or has one edit (two in a word longer than four).
    """
    folded = word.casefold()
    if not 1 <= len(folded) <= _MAX_WORD:
        return None
    best: tuple[int, str] | None = None
    for candidate in candidates:
        most = 1 if len(candidate) <= 4 else 2
        edits = distance(folded, candidate.casefold(), most)
        if edits > most:
            if len(folded) < 2 or not candidate.casefold().startswith(folded):
                continue
            edits = most
        if best is None or edits < best[0]:
            best = (edits, candidate)
    return None if best is None else best[1]


def closest_key(word: str, meanings: Mapping[str, str]) -> str | None:
    """Return the meaning of the key that `word` misspells."""
    near = closest(word, meanings)
    return None if near is None else meanings[near]
