"""Any life of an agent: it is never started against its wish, nor too often, nor told of twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agency.control.agents.history import History, Respawns
from agency.control.agents.planning import Leave, Plan, Verb, plan
from agency.control.agents.seen import Seen, problem_of
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish

RULES = Respawns(most=3, first_s=10, longest_s=40, stable_s=100)


class Life(RuleBasedStateMachine):
    """One agent, those who command it, what befalls it, and the reconciler.

    The model knows how often the agent was tried in a row, and since when it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.pid = 1000.0, 1
        self.wish, self.wished_ts = Wish(Desired.STOPPED), 1
        self.state, self.known_handle = State.STOPPED, None
        self.known: str | None = "stopped"
        self.handle: str | None = None
        self.broken = self.recovering = self.busy = self.drifted = self.safe = False
        self.history = History()
        self.row, self.up_since = 0, 0.0  # tries in a row, and since when it is as wished
        self.last_try: float | None = None
        self.untold = False  # something befell it that the room was not told of
        self.command(Desired.RUNNING)

    def seen(self) -> Seen:
        return Seen(
            name="pm",
            wish=self.wish,
            wished_ts=self.wished_ts,
            known=self.known,
            known_handle=self.known_handle,
            state=self.state,
            handle=self.handle,
            running_as=f"pid {self.handle}",
            reason="" if self.state is State.RUNNING else "why",
            recovering=self.recovering and self.state is State.FAILED,
            drift="its role" if self.drifted and self.state is State.RUNNING else "",
            busy=self.busy,
        )

    def run(self) -> None:
        self.pid += 1
        self.state, self.handle = State.RUNNING, str(self.pid)

    def record(self) -> None:
        if self.known is not None:
            self.known, self.known_handle = str(self.state), self.handle

    @rule(desired=st.sampled_from(Desired))
    def command(self, desired: Desired) -> None:
        """A person's operation, from its wish to its result."""
        self.wish, self.wished_ts = Wish(desired), self.wished_ts + 1
        self.drifted = self.untold = False
        self.row, self.last_try, self.known = 0, None, "unknown"
        if desired is Desired.RUNNING and not self.broken:
            self.run()
        elif desired is not Desired.RUNNING:
            self.state, self.handle = State.STOPPED, None
        self.record()

    @rule()
    def die(self) -> None:
        if self.state is State.RUNNING:
            self.state, self.handle, self.untold = State.FAILED, None, True

    @rule()
    def start_elsewhere(self) -> None:
        self.run()
        self.untold = True

    @rule(what=st.sampled_from(["broken", "recovering", "busy", "drifted", "safe"]))
    def turn(self, what: str) -> None:
        setattr(self, what, not getattr(self, what))

    @rule()
    def fall_into_a_bad_time(self) -> None:
        """It dies and cannot be started, for longer than all attempts take."""
        self.broken = True
        self.die()
        for _ in range(6):
            self.look()
            self.now += RULES.longest_s

    @rule()
    def die_where_its_runtime_starts_it_again(self) -> None:
        self.recovering = True
        self.die()
        self.look()

    @rule(seconds=st.sampled_from([1, 10, 40, 101]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart_control_plane(self) -> None:
        self.history = replace(self.history, next_s=0, up_s=None)
        self.last_try = None

    @rule()
    def look(self) -> None:
        before = self.history
        made = plan(self.seen(), before, RULES, Leave(act=not self.safe), self.now, "t-1")
        self.check(made)
        self.history = made.history
        if made.seen:
            self.record()
        if made.heal is not None:
            self.heal(made.heal)
        if made.history.tries == 0:
            self.row = 0

    def check(self, made: Plan) -> None:
        if self.busy or self.safe:
            assert made.heal is None
        if self.busy:
            assert not made.tell
        if self.wish.is_down:
            gone = self.wish.desired is Desired.DELETED
            assert made.heal in (None, Verb.DELETE if gone else Verb.STOP), "against its wish"
        if self.recovering and self.state is State.FAILED:
            assert made.heal is None, "left to its runtime"
        if made.tell:
            again = plan(
                replace(self.seen(), known=str(self.state), known_handle=self.handle),
                made.history,
                RULES,
                Leave(act=False),
                self.now,
                "t-2",
            )
            assert not again.tell, "a thing is told once"
        left_alone = self.busy or self.safe or self.known is None
        left_alone |= self.recovering and self.state is State.FAILED
        if not left_alone and self.row == 0 and self.last_try is None:
            assert (made.heal is None) is (problem_of(self.seen()) is None), "tried at once"
        if made.heal is not None:
            assert self.row < RULES.most
            if self.last_try is not None and self.row:
                assert self.now - self.last_try >= RULES.wait_s(self.row)

    def heal(self, verb: Verb) -> None:
        self.row += 1
        self.last_try = self.now
        if verb is Verb.DELETE and not self.broken:
            self.state, self.handle = State.STOPPED, None
            self.known, self.known_handle = None, None
            self.history = History(self.wished_ts)
            return
        if verb is Verb.DELETE:
            return
        if verb is Verb.STOP or self.broken:
            self.state, self.handle = State.STOPPED, None
        else:
            self.run()
            self.drifted = False
        self.record()

    @invariant()
    def a_history_that_is_given_up_says_why(self) -> None:
        if self.history.given_up:
            assert self.history.episode is not None
            assert self.history.episode.told

    def teardown(self) -> None:
        """Whatever came before: left in peace, it is brought to its wish, and all is quiet."""
        self.broken = self.recovering = self.busy = self.drifted = self.safe = False
        self.command(self.wish.desired)
        self.die()
        for _ in range(6):
            self.look()
            self.now += 200
        assert (self.state is State.RUNNING) is (self.wish.desired is Desired.RUNNING)
        assert (self.known is None) is (self.wish.desired is Desired.DELETED)
        last = plan(self.seen(), self.history, RULES, Leave(), self.now, "t-3")
        assert (last.heal, last.tell, last.history.is_empty) == (None, "", True)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
