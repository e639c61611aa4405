"""Histories of agents in the store: read as they were kept, but for what is of one run alone."""

from __future__ import annotations

import pytest

from agency.control.agents import kept
from agency.control.agents.history import Difference, Episode, History, Holding
from agency.store import Database

DIED = Episode(Difference.DEAD, "exit status 1", "t-1")


@pytest.mark.parametrize(
    "history",
    [
        History(7, tries=2),
        History(7, episode=DIED),
        History(7, tries=1, episode=Episode(Difference.UNWANTED, "", "t-2", told=True)),
        History(7, tries=5, episode=DIED, given_up=True),
    ],
)
async def test_what_is_kept_is_read_again(database: Database, history: History) -> None:
    await database.write(lambda c: kept.keep(c, {"pm": history, "dev": History(1, tries=9)}))
    assert await database.read(kept.read) == {"pm": history, "dev": History(1, tries=9)}


async def test_a_later_one_takes_its_place_and_an_empty_one_is_forgotten(
    database: Database,
) -> None:
    await database.write(lambda c: kept.keep(c, {"pm": History(1, tries=1), "dev": History(2, 2)}))
    await database.write(lambda c: kept.keep(c, {"pm": History(3, tries=2)}))
    assert await database.read(kept.read) == {"pm": History(3, tries=2), "dev": History(2, 2)}
    await database.write(lambda c: kept.keep(c, {"pm": History(4), "dev": History(2, 3)}))
    assert await database.read(kept.read) == {"dev": History(2, 3)}
    await database.write(lambda c: kept.keep(c, {"dev": History(5)}))
    await database.write(lambda c: kept.keep(c, {}))
    assert await database.read(kept.read) == {}


def test_times_and_silence_and_documents_are_of_this_run_alone() -> None:
    here = History(
        7, 2, DIED, True, next_s=50, up_s=3, silent=1, silent_s=9, silent_as="7",
        holding=Holding("run 1", "aa", 1),
    )  # fmt: skip
    assert here.kept == History(7, 2, DIED, True)


@pytest.mark.parametrize(
    ("history", "is_empty"),
    [
        (History(7, up_s=3, holding=Holding("run 1", "aa", 1)), True),
        (History(tries=1), False),
        (History(episode=DIED), False),
        (History(given_up=True), False),
    ],
)
def test_what_is_worth_keeping(history: History, is_empty: bool) -> None:
    assert history.is_empty is is_empty


@pytest.mark.parametrize(
    ("holding", "is_without", "is_trusted"),
    [
        (Holding(), False, False),  # nothing was tried yet
        (Holding(pushes=1), True, False),
        (Holding(pushes=1, right_s=3), False, True),
        (Holding(pushes=2, right_s=3), False, False),  # it held something else in between
        (Holding(right_s=3), False, True),
    ],
)
def test_whether_an_agent_has_its_document(
    holding: Holding, is_without: bool, is_trusted: bool
) -> None:
    runs = History(up_s=0, holding=holding)
    assert (runs.is_without_document, runs.is_trusted) == (is_without, is_trusted)
    assert not History(holding=holding).is_without_document, "it does not run"
