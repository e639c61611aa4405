"""Any order of runs, crashes, edits of the list and decisions: nothing is lost or done unasked."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from task_places import Counting, loop_in, place_in, states

from agency.workspace.tasks.intake import Wish, take
from agency.workspace.tasks.loop import Loop
from agency.workspace.tasks.performer import NotBegunError, Performed
from agency.workspace.tasks.resolving import settle
from agency.workspace.tasks.scheduler import Limits

EDITS = ["pending", "in_progress", "completed", "blocked"]


class Dies(BaseException):
    """End of the process in the midst of a task."""


class Mortal(Loop):
    """A loop that cannot write any more once it died."""

    def _end(self, task, run, outcome, note):
        if outcome != "unknown":
            super()._end(task, run, outcome, note)


class TaskMachine(RuleBasedStateMachine):
    """`allowed` counts how often a task may have been performed: once, and once more a decision."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="agency-tasks-"))
        self.place = place_in(self.directory)
        self.performed: dict[str, int] = {}
        self.allowed: dict[str, int] = {}
        self.old = self.place.sheet_path.read_bytes()
        self.claimed: set[str] = set()  # to be completed, by the agent or a person

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @rule(number=st.integers(0, 7), priority=st.sampled_from(["urgent", "normal", "low"]))
    def wish(self, number: int, priority: str) -> None:
        name = f"t{number}"
        wish = Wish(
            name=name, description="x", priority=priority, source="test", source_ref=f"test:{name}"
        )
        if take(self.place, [wish]).added:
            self.allowed.setdefault(name, 1)

    @rule(
        acts=st.lists(
            st.sampled_from(["completed", "failed", "dies", "cannot"]), min_size=1, max_size=4
        )
    )
    def run(self, acts: list[str]) -> None:
        left = iter(acts)

        def act(assignment):
            name = assignment.task.name
            what = next(left, "completed")
            if what == "cannot":
                raise NotBegunError("not now")
            self.performed[name] = self.performed.get(name, 0) + 1
            if what == "dies":
                raise Dies
            return Performed(what, what)

        loop = Mortal(self.place, Counting(act), Limits(max_tasks=len(acts), max_errors=100))
        with contextlib.suppress(Dies, NotBegunError):
            asyncio.run(loop.run())

    @precondition(lambda self: self.allowed)
    @rule(data=st.data(), status=st.sampled_from(EDITS))
    def edit(self, data, status: str) -> None:
        """The agent writes what it likes about a task."""
        name = data.draw(st.sampled_from(sorted(self.allowed)))
        if name in states(self.place):
            self.place.change_tasks({name: {"status": status}})
            if status == "completed":
                self.claimed.add(name)

    @rule()
    def keep(self) -> None:
        self.old = self.place.sheet_path.read_bytes()

    @rule()
    def revert(self) -> None:
        self.place.sheet_path.write_bytes(self.old)

    @precondition(lambda self: self.allowed)
    @rule(data=st.data(), outcome=st.sampled_from(["pending", "completed", "failed"]))
    def decide(self, data, outcome: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.allowed)))
        if name in states(self.place):
            settle(self.place, name, outcome)
            if outcome == "completed":
                self.claimed.add(name)
            if outcome == "pending":
                self.allowed[name] = self.performed.get(name, 0) + 1

    @rule()
    def rest(self) -> None:
        """Left alone, a loop does all that nobody holds back."""

        def act(assignment):
            name = assignment.task.name
            self.performed[name] = self.performed.get(name, 0) + 1
            return Performed("completed", "done")

        asyncio.run(loop_in(self.place, Counting(act), max_tasks=100).run())
        found = states(self.place)
        assert "pending" not in found.values()
        for name, status in found.items():
            if status == "completed" and name not in self.claimed:
                assert self.performed[name] >= 1

    @invariant()
    def nothing_is_done_more_often_than_asked(self) -> None:
        for name, times in self.performed.items():
            assert times <= self.allowed[name], (name, self.performed, self.allowed)


TaskMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestTasks = TaskMachine.TestCase
