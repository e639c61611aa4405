"""Single steps of the plan for one agent, and of that for its document, at their limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agency.control.agents.documents import DocumentPlan, plan_document
from agency.control.agents.history import Difference, Episode, History, Holding, Respawns
from agency.control.agents.planning import Leave, Plan, Verb, plan
from agency.control.agents.seen import Document, Seen, is_replaced
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish

RULES = Respawns(most=2, first_s=10, longest_s=15, stable_s=100, unheard=2, apart_s=5)
RUNS = Seen(
    name="pm",
    wish=Wish(Desired.RUNNING, "app"),
    wished_ts=0,
    known="running",
    known_handle="7",
    state=State.RUNNING,
    handle="7",
    running_as="pid 7",
)
DEAD = replace(RUNS, state=State.FAILED, handle=None, running_as="", reason="exit status 1")
SILENT = replace(RUNS, unheard="no answer")
DIED = Episode(Difference.DEAD, "exit status 1", "t-1")
HELD = Document("run 1", "aa", "aa", 4)
LACKS = replace(HELD, held=None)
OLD = replace(HELD, held="00")
FALSE = replace(HELD, held="ff", is_version=False)
BACK = "pm died (exit status 1) and was started again (pid 7). Trace: t-1"


def planned(seen: Seen, before: History, now_s: float = 0.0, **leave: bool) -> Plan:
    return plan(seen, before, RULES, Leave(**leave), now_s, "t-2")


def test_the_wait_doubles_up_to_the_longest() -> None:
    assert [Respawns().wait_s(tries) for tries in range(1, 8)] == [10, 20, 40, 80, 160, 320, 600]
    assert Respawns().wait_s(5000) == 600


def test_a_dead_agent_is_tried_at_once_and_again_after_the_wait() -> None:
    first = planned(DEAD, History(), 100)
    assert (first.heal, first.tell, first.trace) == (Verb.START, "", "t-2")
    assert first.noticed == Episode(Difference.DEAD, "exit status 1", "t-2")
    assert (first.history.tries, first.history.next_s) == (1, 110)
    waits = planned(DEAD, first.history, 103)
    assert (waits.heal, waits.noticed, waits.seen) == (None, None, True)
    assert waits.tell == (
        "pm died (exit status 1), and that is not mended yet. It is tried again in 7 s, then ever "
        "more seldom. Trace: t-2"
    )
    assert planned(DEAD, waits.history, 109.9) == Plan(waits.history), "said once"
    second = planned(DEAD, waits.history, 110)
    assert (second.heal, second.trace) == (Verb.START, "t-2"), "all of it under one trace"
    assert (second.history.tries, second.history.next_s) == (2, 125)


def test_after_the_last_attempt_it_is_given_up_and_that_is_on_record() -> None:
    tried = History(tries=2, episode=DIED, next_s=50)
    over = planned(DEAD, tried, 20)
    assert (over.heal, over.tell, over.noticed, over.seen) == (None, "", None, True)
    assert over.history == replace(tried, given_up=True, episode=replace(DIED, told=True))
    assert planned(DEAD, over.history, 1000) == Plan(over.history), "and nothing more is done"


def test_of_one_that_is_given_up_another_difference_is_noticed_and_not_told() -> None:
    over = History(tries=2, episode=replace(DIED, told=True), given_up=True)
    made = planned(replace(RUNS, drift="its role"), over, 1000)
    noticed = Episode(Difference.DRIFTED, "its role", "t-2")
    assert made == Plan(replace(over, episode=replace(noticed, told=True)), noticed=noticed)


def test_one_that_runs_again_is_given_up_no_more_and_lasts_from_then() -> None:
    over = History(tries=2, episode=replace(DIED, told=True), given_up=True)
    made = planned(RUNS, over, 30)
    assert (made.tell, made.seen) == ("pm runs again (pid 7), after 2 attempts. Trace: t-1", True)
    assert made.history == History(tries=2, up_s=30)
    assert planned(RUNS, made.history, 129.9) == Plan(made.history), "it may die again"
    assert planned(RUNS, made.history, 130).history == History(up_s=30), "it lasted"


def test_what_ends_begins_a_new_time_of_running() -> None:
    died = planned(DEAD, History(tries=1, up_s=0), 99)
    assert died.history.up_s is None
    assert planned(RUNS, died.history, 99).history.up_s == 99


def test_how_it_failed_is_learned_later_and_the_episode_stays_the_same() -> None:
    unknown = History(tries=1, episode=replace(DIED, reason=""), next_s=50)
    made = planned(DEAD, unknown, 20)
    assert made.noticed is None
    assert made.tell.startswith("pm died (exit status 1), and that is not mended yet.")
    assert made.tell.endswith("Trace: t-1")
    other = planned(replace(DEAD, reason="exit status 2"), made.history, 30)
    assert other.history.episode == replace(DIED, told=True), "what was told first"


def test_another_difference_is_another_episode() -> None:
    silent = History(episode=Episode(Difference.SILENT, "no answer", "t-0", told=True), tries=1)
    made = planned(DEAD, silent, 20)
    assert made.noticed == Episode(Difference.DEAD, "exit status 1", "t-2")
    assert (made.heal, made.trace) == (Verb.START, "t-2")


def test_where_nothing_can_be_told_it_is_told_later() -> None:
    waits = planned(DEAD, History(tries=1, episode=DIED, next_s=50), 20, tell=False)
    assert waits == Plan(History(tries=1, episode=DIED, next_s=50))
    mended = planned(RUNS, waits.history, 60, tell=False)
    assert (mended.tell, mended.history.episode) == ("", DIED)
    later = planned(RUNS, mended.history, 70)
    assert (later.tell, later.seen, later.history.episode) == (BACK, True, None)


def test_another_process_is_told_of_when_it_can_be() -> None:
    other = replace(RUNS, handle="8", running_as="pid 8")
    assert planned(other, History(up_s=0), tell=False) == Plan(History(up_s=0))
    made = planned(other, History(up_s=0))
    assert made.noticed == Episode(Difference.REPLACED, "7 before", "t-2")
    assert made.seen
    assert made.tell == (
        "pm was restarted, but not by the control plane: its handle was 7, and it runs as pid 8. "
        "Trace: t-2"
    )


@pytest.mark.parametrize(
    ("seen", "is_other"),
    [
        (replace(RUNS, handle="8"), True),
        (RUNS, False),
        (replace(RUNS, handle=None), False),
        (replace(RUNS, known_handle=None), False),
        (replace(RUNS, handle="8", known="failed"), False),
        (replace(RUNS, handle="8", wish=Wish(Desired.STOPPED)), False),
    ],
)
def test_what_is_another_process(seen: Seen, is_other: bool) -> None:
    assert is_replaced(seen) is is_other


@pytest.mark.parametrize(
    "seen",
    [
        replace(DEAD, busy=True),
        replace(DEAD, known=None),
        replace(DEAD, recovering=True),
    ],
)
def test_what_is_left_alone(seen: Seen) -> None:
    before = History(tries=1, episode=DIED)
    assert planned(seen, before, 100) == Plan(before)


def test_one_that_runs_is_mended_although_its_runtime_would_start_it_again() -> None:
    made = planned(replace(RUNS, drift="its role", recovering=True), History())
    assert made.heal is Verb.RESTART


def test_a_newer_wish_begins_a_new_history() -> None:
    over = History(tries=2, episode=DIED, given_up=True, next_s=500, up_s=3)
    made = planned(replace(DEAD, wished_ts=9), over, 20)
    assert (made.heal, made.history.wished_ts, made.history.tries) == (Verb.START, 9, 1)
    assert not made.history.given_up


def test_silence_counts_so_many_looks_in_a_row_that_are_apart() -> None:
    first = planned(SILENT, History(), 100)
    assert first == Plan(History(silent=1, silent_s=100, silent_as="7"))
    assert planned(SILENT, first.history, 104.9) == first, "too soon after it to be another"
    second = planned(SILENT, first.history, 105)
    assert (second.heal, second.history.silent) == (Verb.RESTART, 0)
    assert second.noticed == Episode(Difference.SILENT, "no answer", "t-2")
    answered = planned(RUNS, first.history, 105)
    assert answered.history.silent == 0
    assert planned(SILENT, answered.history, 110).heal is None, "from the beginning"
    assert planned(SILENT, second.history, 116).heal is None, "it has as many looks again"


def test_one_that_ended_is_silent_no_more() -> None:
    made = planned(DEAD, History(silent=1, silent_s=0, silent_as="7"), 100)
    assert (made.heal, made.history.silent) == (Verb.START, 0)
    unasked = planned(replace(DEAD, unheard="no answer"), History(), 100)
    assert unasked.heal is Verb.START, "what does not run is not asked"


def test_in_safe_mode_it_is_left_so_and_tried_afterwards() -> None:
    made = planned(DEAD, History(), 100, act=False)
    assert made.tell == "pm died (exit status 1). Safe mode is on, so it is left so. Trace: t-2"
    assert (made.heal, made.history.tries, made.seen) == (None, 0, True)
    assert planned(DEAD, made.history, 101).heal is Verb.START


def test_a_document_follows_a_restart_under_its_trace() -> None:
    made = planned(replace(RUNS, document=LACKS), History(tries=1, episode=DIED), 20)
    assert (made.heal, made.trace, made.tell) == (Verb.PUSH, "t-1", BACK)
    assert (made.history.holding.pushes, made.history.holding.next_s) == (1, 30)


def test_a_document_is_given_to_a_new_run_about_nothing() -> None:
    made = planned(replace(RUNS, document=LACKS), History(), 20)
    assert (made.heal, made.trace, made.tell, made.noticed) == (Verb.PUSH, "", "", None)
    held = planned(replace(RUNS, document=HELD), made.history, 21)
    assert (held.heal, held.tell) == (None, "")


def test_an_altered_document_is_noticed_given_and_told_under_one_trace() -> None:
    made = planned(replace(RUNS, document=FALSE), History(up_s=0), 20)
    noticed = Episode(
        Difference.ALTERED, "it held a Gosuto that nobody gave it, sha256:ff, not version 4", "t-2"
    )
    assert (made.heal, made.noticed, made.trace, made.tell) == (Verb.PUSH, noticed, "t-2", "")
    holds = replace(RUNS, document=HELD)
    unsaid = planned(holds, made.history, 21, tell=False)
    assert unsaid.tell == ""
    told = planned(holds, unsaid.history, 22)
    assert told.tell == (
        f"pm had drifted ({noticed.reason}), and was given version 4 again. Trace: t-2"
    )
    assert planned(holds, told.history, 23) == Plan(told.history), "once"


def test_a_restart_and_an_altered_document_are_told_one_after_the_other() -> None:
    altered = Episode(Difference.ALTERED, "it held another", "t-0")
    holding = Holding("run 1", "aa", pushes=1, altered=altered)
    holds = replace(RUNS, document=HELD)
    first = planned(holds, History(tries=1, episode=DIED, up_s=0, holding=holding), 20)
    assert first.tell == BACK
    second = planned(holds, first.history, 21)
    assert second.tell.startswith("pm had drifted (it held another), and was given version 4 again")


def test_another_process_is_on_record_before_it_is_given_its_document() -> None:
    other = replace(RUNS, handle="8", document=LACKS)
    made = planned(other, History(up_s=0), 20)
    assert made.noticed is not None
    assert (made.noticed.what, made.heal) == (Difference.REPLACED, None)
    assert planned(replace(other, known_handle="8"), made.history, 21).heal is Verb.PUSH


def test_in_safe_mode_a_document_is_not_given() -> None:
    made = planned(replace(RUNS, document=FALSE), History(up_s=0), 20, act=False)
    assert made.heal is None
    assert made.noticed is not None


def given(document: Document, before: Holding, now_s: float = 0.0) -> DocumentPlan:
    return plan_document(document, before, RULES, now_s, "t-2", act=True, tell=True)


def test_a_document_is_given_so_often_and_so_far_apart_only() -> None:
    first = given(LACKS, Holding(), 100)
    assert first == DocumentPlan(Holding("run 1", "aa", pushes=1, next_s=110), push=True)
    assert given(LACKS, first.holding, 109.9) == DocumentPlan(first.holding)
    second = given(LACKS, first.holding, 110)
    assert second == DocumentPlan(Holding("run 1", "aa", pushes=2, next_s=125), push=True)
    assert given(LACKS, second.holding, 1000) == DocumentPlan(second.holding), "that was the last"


@pytest.mark.parametrize("other", [replace(LACKS, run="run 2"), replace(LACKS, newest="bb")])
def test_another_run_and_a_newer_version_begin_anew(other: Document) -> None:
    spent = Holding("run 1", "aa", pushes=2, next_s=1000, had=True)
    made = given(other, spent, 20)
    assert made == DocumentPlan(Holding(other.run, other.newest, 1, 30), push=True)


def test_an_older_version_is_no_alteration_until_it_had_the_newest() -> None:
    assert given(OLD, Holding()).noticed is None
    assert given(FALSE, Holding()).noticed is not None
    assert given(OLD, Holding("run 1", "aa", had=True)).noticed is not None


def test_one_alteration_is_noticed_once_and_one_that_was_told_is_no_news() -> None:
    first = given(FALSE, Holding(), 100)
    assert first.noticed is not None
    again = given(LACKS, first.holding, 101)
    assert (again.noticed, again.holding.altered) == (None, first.noticed)
    assert given(FALSE, Holding("run 1", "aa", had=True, told=True)).noticed is None


def test_a_document_that_is_held_for_long_is_given_again_as_often_as_before() -> None:
    lasts = given(HELD, Holding("run 1", "aa", pushes=2, next_s=125), 130)
    assert lasts == DocumentPlan(
        Holding("run 1", "aa", pushes=2, next_s=125, right_s=130, had=True)
    )
    assert given(HELD, lasts.holding, 229.9) == lasts, "not long enough"
    over = given(HELD, lasts.holding, 230)
    assert over.holding == Holding("run 1", "aa", right_s=130, had=True)
    lost = given(LACKS, over.holding, 231)
    assert lost.push
    assert lost.holding.right_s is None
