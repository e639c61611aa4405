from hypothesis import given
from hypothesis import strategies as st

from agency.errors import ExitCode
from agency.recipes.outcome import CaseResult, Outcome, StageResult, Teardown, exit_code, verdict
from agency.recipes.run.report import Report

TEXT = st.text(max_size=300)
TESTS = st.builds(CaseResult, TEXT, st.sampled_from(Outcome), st.floats(0, 1e4), TEXT)
STAGES = st.lists(
    st.builds(
        StageResult,
        st.sampled_from(["install", "upgrade", "backup", "custom"]),
        st.sampled_from(Outcome),
        st.floats(0, 9999),
        TEXT,
        st.lists(TESTS, max_size=3).map(tuple),
        st.lists(TEXT, max_size=2).map(tuple),
    ),
    max_size=4,
).map(tuple)
TEARDOWNS = st.builds(
    Teardown,
    st.lists(TEXT, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
    st.booleans(),
)
RANK = {Outcome.PASS: 3, Outcome.SKIP: 2, Outcome.FAIL: 1, Outcome.ERROR: 0}
JUDGED = {Outcome.PASS: 2, Outcome.FAIL: 1, Outcome.ERROR: 0}


def stage(outcome: Outcome) -> StageResult:
    return StageResult("install", outcome)


def test_verdicts_and_their_exit_codes():
    clean = Teardown()
    assert exit_code(verdict([stage(Outcome.PASS)], clean)) == ExitCode.DONE
    assert exit_code(verdict([stage(Outcome.PASS), stage(Outcome.SKIP)], clean)) == ExitCode.DONE
    assert exit_code(verdict([stage(Outcome.SKIP)], clean)) == ExitCode.BAD
    assert exit_code(verdict([], clean)) == ExitCode.BAD
    assert exit_code(verdict([stage(Outcome.PASS), stage(Outcome.FAIL)], clean)) == ExitCode.BAD
    assert exit_code(verdict([stage(Outcome.ERROR)], clean)) == ExitCode.PREREQUISITE
    assert exit_code(verdict([stage(Outcome.PASS)], Teardown(left=("volume x",)))) == ExitCode.BAD


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=4), st.data(), TEARDOWNS)
def test_a_worse_stage_never_makes_a_better_verdict(outcomes, data, teardown):
    at = data.draw(st.integers(0, len(outcomes) - 1))
    worse = data.draw(st.sampled_from([o for o in Outcome if RANK[o] <= RANK[outcomes[at]]]))
    before = verdict([stage(o) for o in outcomes], teardown)
    outcomes[at] = worse
    after = verdict([stage(o) for o in outcomes], teardown)
    assert JUDGED[after] <= JUDGED[before]


@given(STAGES, TEARDOWNS, TEXT)
def test_the_table_fits_80_columns_and_is_safe_for_a_terminal(stages, teardown, text):
    report = Report(
        "r00000000", "wiki", "a" * 40, False, "w.test", text, "now", 1.0, stages, teardown, text
    )
    for line in report.lines():
        assert len(line) <= 80
        assert line.isprintable()
