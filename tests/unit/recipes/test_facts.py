"""Facts of a run: what was deployed and used, in its JSON and in its table."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from agency.clock import Clock
from agency.recipes.facts import (
    Deadline,
    DeployedImage,
    Deployment,
    Facts,
    Overlay,
    ServiceUsage,
    Usage,
)
from agency.recipes.observe.timesheet import Timesheet
from agency.recipes.observe.usage import Ledger, Look, read_stats
from agency.recipes.outcome import CaseResult, Outcome, StageResult, Teardown
from agency.recipes.run.report import Report

TEXT = st.text(max_size=300)
FACTS = st.builds(
    Facts,
    st.lists(
        st.builds(
            Deployment,
            TEXT,
            TEXT,
            st.lists(st.builds(DeployedImage, TEXT, TEXT, TEXT, TEXT), max_size=60).map(tuple),
        ),
        max_size=25,
    ).map(tuple),
    st.none()
    | st.builds(Usage, st.integers(0, 1 << 40), st.floats(0, 1e6), st.just(1), st.just(())),
    st.none() | st.builds(Overlay, TEXT, TEXT, TEXT, TEXT),
    st.none() | st.builds(Deadline, st.floats(0, 1e6), st.booleans()),
)


def report(facts, stages=()):
    return Report(
        "r00000000", "wiki", "a" * 40, False, "w.test", "abra", "now", 1.0, stages, Teardown(),
        "artifacts", facts,
    )  # fmt: skip


@given(FACTS)
def test_the_table_with_all_facts_fits_80_columns_and_the_json_is_bounded(facts):
    made = report(facts)
    for line in made.lines():
        assert len(line) <= 80
        assert line.isprintable()
    told = made.as_dict()
    assert len(told["images"]) <= 20
    assert all(len(one["services"]) <= 50 for one in told["images"])


def test_a_run_without_facts_has_their_keys():
    told = report(Facts()).as_dict()
    assert told["images"] == told["screenshots"] == []
    assert told["usage"] is told["overlay"] is told["deadline"] is told["times"] is None


def test_a_timesheet_counts_what_is_nested_once_and_ends_with_a_fault():
    now = [0.0]
    sheet = Timesheet(Clock(steady=lambda: now[0]))
    now[0] = 5.0  # the harness's own
    with sheet.waiting():
        now[0] = 6.0
        with sheet.program():
            now[0] = 8.0
    with suppress(KeyboardInterrupt), sheet.program():
        now[0] = 8.5
        raise KeyboardInterrupt
    now[0] = 20.0
    assert sheet.times().as_dict() == {"programs_s": 0.5, "waits_s": 3.0}


def test_screenshots_are_listed_with_their_stage_and_test():
    tests = (CaseResult("a", Outcome.PASS, 1.0), CaseResult("b", Outcome.FAIL, 1.0, "", "s/1.png"))
    told = report(Facts(), (StageResult("install", Outcome.FAIL, tests=tests),)).as_dict()
    assert told["screenshots"] == [{"stage": "install", "test": "b", "file": "s/1.png"}]


def test_peaks_are_of_one_moment_and_processor_time_of_all_containers():
    ledger = Ledger()
    assert ledger.usage() is None
    ledger.take([Look("1", "app", 10, 1.0), Look("2", "db", 5, 2.0)])
    ledger.take([])
    ledger.take([Look("3", "app", 4, 0.5), Look("4", "app", 4, 0.5), Look("2", "db", 6, 3.0)])
    assert ledger.usage() == Usage(
        15, 5.0, 2, (ServiceUsage("app", 10, 2.0), ServiceUsage("db", 6, 3.0))
    )


def test_both_forms_of_dockers_answer_are_read_and_an_ended_container_counts_nothing():
    first = {"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 30}}}
    second = {
        "memory_stats": {"usage": 100, "stats": {"inactive_file": 20}},
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
    }
    assert read_stats("1", "app", first) == Look("1", "app", 70, 0.0)
    assert read_stats("1", "app", second) == Look("1", "app", 80, 1.5)
    assert read_stats("1", "app", {}) is None


def test_where_docker_has_no_numbers_none_are_told():
    """As it answers within a container whose control groups it cannot read: zeros of processors."""
    unread = {"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}
    assert read_stats("1", "app", unread) is None
