"""Edit distance and the nearest word."""

from __future__ import annotations

from itertools import product

import pytest

from agency.control.grammar.suggest import closest, closest_key, distance

WORDS = ["".join(letters) for size in range(6) for letters in product("ab", repeat=size)]


def plain_distance(left: str, right: str) -> int:
    """The definition, without any cleverness."""
    table = {(i, 0): i for i in range(len(left) + 1)}
    table |= {(0, j): j for j in range(len(right) + 1)}
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            ways = [
                table[i - 1, j] + 1,
                table[i, j - 1] + 1,
                table[i - 1, j - 1] + (left[i - 1] != right[j - 1]),
            ]
            if i > 1 and j > 1 and left[i - 1] == right[j - 2] and left[i - 2] == right[j - 1]:
                ways.append(table[i - 2, j - 2] + 1)
            table[i, j] = min(ways)
    return table[len(left), len(right)]


@pytest.mark.parametrize("most", range(7))
def test_distance_is_what_it_is_defined_to_be(most):
    for left, right in product(WORDS, WORDS):
        assert distance(left, right, most) == min(plain_distance(left, right), most + 1)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("start", "start"),
        ("strat", "start"),
        ("START", "start"),
        ("restrat", "restart"),
        ("rest", "restart"),
        ("re", "restart"),
        ("r", None),
        ("lst", "list"),
        ("lost", "list"),
        ("lots", None),
        ("sta", "start"),
        ("stat", "start"),
        ("statu", "status"),
        ("xstartx", "start"),
        ("xlistx", None),
        ("dance", None),
        ("", None),
        ("x" * 64, None),
        ("s" + "t" * 65536, None),
    ],
)
def test_the_nearest_word(word, nearest):
    assert closest(word, ("list", "start", "restart", "status")) == nearest


def test_an_exact_word_beats_a_near_one_and_of_equals_the_first_wins():
    assert closest("restart", ("start", "restart")) == "restart"
    assert closest("bat", ("cat", "hat")) == "cat"
    assert closest("hit", ("history", "hat")) == "hat"


def test_words_are_looked_at_up_to_64_characters():
    assert closest("x" * 64, ("x" * 65,)) == "x" * 65
    assert closest("x", ("xy",)) == "xy"
    assert closest("x" * 65, ("x" * 64,)) is None


def test_what_a_near_key_stands_for():
    assert closest_key("strat", {"start": "agents start"}) == "agents start"
    assert closest_key("dance", {"start": "agents start"}) is None
