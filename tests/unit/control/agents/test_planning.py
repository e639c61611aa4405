"""Any life of an agent: it is never started against its wish, nor too often, nor told of twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agency.control.agents.history import History, Respawns
from agency.control.agents.planning import Leave, Plan, Verb, plan
from agency.control.agents.seen import Document, Seen, problem_of
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish

RULES = Respawns(most=3, first_s=10, longest_s=40, stable_s=100, unheard=2)


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
        self.broken = self.recovering = self.busy = self.drifted = self.safe = self.mute = False
        self.refuses = False
        self.held: str | None = None  # the document that its process holds
        self.newest = 1
        self.pushes: list[tuple[str | None, int]] = []  # in a row, by run and version
        self.told: set[tuple[str, int]] = set()  # of whose altered documents the room knows
        self.right_since: float | None = None
        self.unheard = 0  # looks in a row at which it ran and did not answer
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
            unheard="no answer" if self.mute and self.state is State.RUNNING else "",
            drift="its role" if self.drifted and self.answers else "",
            document=self.document(),
            busy=self.busy,
        )

    @property
    def answers(self) -> bool:
        return self.state is State.RUNNING and not self.mute

    def document(self) -> Document | None:
        if not self.answers or self.wish.is_down:
            return None
        is_version = self.held in {f"version {n}" for n in range(1, self.newest + 1)}
        newest = f"version {self.newest}"
        return Document(f"run {self.pid}", self.held, newest, self.newest, is_version)

    def run(self) -> None:
        self.pid += 1
        self.held, self.mute, self.unheard = None, False, 0
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
        self.forget_documents()
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

    @rule()
    def set_a_new_version(self) -> None:
        self.newest += 1

    @rule(held=st.sampled_from([None, "version 1", "what nobody gave it"]))
    def alter(self, held: str | None) -> None:
        self.held = held

    @rule(
        what=st.sampled_from(["broken", "recovering", "busy", "drifted", "safe", "mute", "refuses"])
    )
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

    @rule(seconds=st.sampled_from([0, 1, 20, 60]))
    def be_looked_at_often(self, seconds: int) -> None:
        for _ in range(6):
            self.look()
            self.now += seconds

    @rule(seconds=st.sampled_from([0, 1, 60]))
    def fall_silent(self, seconds: int) -> None:
        """It hangs, is asked now and then, and answers again."""
        self.mute = True
        self.be_looked_at_often(seconds)
        self.mute = False

    @rule(seconds=st.sampled_from([0, 1, 60]))
    def be_unsure_of_its_answer(self, seconds: int) -> None:
        """It does not answer at every other look."""
        for _ in range(3):
            self.mute = True
            self.look()
            self.mute = False
            self.now += seconds
            self.look()

    @rule(held=st.sampled_from([None, "version 1", "what nobody gave it"]))
    def take_no_document(self, held: str | None) -> None:
        self.refuses, self.held = True, held
        self.be_looked_at_often(60)

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
        self.history = self.history.kept
        self.last_try = None
        self.forget_documents()

    def forget_documents(self) -> None:
        self.pushes, self.right_since = [], None
        self.told = set()

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

    def check_push(self, made: Plan) -> None:
        """A document is given to who answers and does not hold it, and so often only."""
        document = self.document()
        if document is not None and not self.busy and self.known is not None:
            right = document.held == document.newest
            self.right_since = (self.right_since or self.now) if right else None
        if self.right_since is not None and self.now - self.right_since >= RULES.stable_s:
            self.pushes = []
        if made.heal is Verb.PUSH:
            assert self.answers
            assert not self.wish.is_down
            assert self.held != f"version {self.newest}", "it has it"
            assert self.pushes.count((self.run_now, self.newest)) < RULES.most

    def check_told(self, made: Plan) -> None:
        """An alteration of a document is told of once."""
        if made.tell.startswith("pm had drifted (it held"):
            told = (self.run_now, self.newest)
            assert told not in self.told, "a document is told of once"
            self.told.add(told)

    def check_silence(self, made: Plan) -> None:
        """Who does not answer is not restarted at once."""
        if self.busy:
            return
        mute = self.state is State.RUNNING and self.mute and not self.wish.is_down
        self.unheard = self.unheard + 1 if mute else 0
        if mute:
            assert made.heal is None or self.unheard >= RULES.unheard, "it may be slow"

    def check(self, made: Plan) -> None:
        self.check_push(made)
        self.check_silence(made)
        self.check_told(made)
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
        left_alone |= self.mute and self.state is State.RUNNING and self.unheard < RULES.unheard
        if made.heal is Verb.PUSH:
            return
        if not left_alone and self.row == 0 and self.last_try is None:
            assert (made.heal is None) is (problem_of(self.seen()) is None), "tried at once"
        if made.heal is not None:
            assert self.row < RULES.most
            if self.last_try is not None and self.row:
                assert self.now - self.last_try >= RULES.wait_s(self.row)

    @property
    def run_now(self) -> str:
        return f"run {self.pid}"

    def heal(self, verb: Verb) -> None:
        if verb is Verb.PUSH:
            self.pushes.append((self.run_now, self.newest))
            if not self.refuses:
                self.held = f"version {self.newest}"
            return
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
        self.broken = self.recovering = self.busy = self.drifted = self.safe = self.mute = False
        self.refuses = False
        self.command(self.wish.desired)
        self.die()
        for _ in range(6):
            self.look()
            self.now += 200
        assert (self.state is State.RUNNING) is (self.wish.desired is Desired.RUNNING)
        assert (self.known is None) is (self.wish.desired is Desired.DELETED)
        if self.wish.desired is Desired.RUNNING:
            assert self.held == f"version {self.newest}"
            self.newest += 1
            self.look()
            assert self.held == f"version {self.newest}"
            self.look()
        last = plan(self.seen(), self.history, RULES, Leave(), self.now, "t-3")
        assert (last.heal, last.tell, last.history.is_empty) == (None, "", True)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_silence_is_of_one_process() -> None:
    """The looks at a process that is gone do not count against the one in its place."""

    def silent(handle: str) -> Seen:
        return Seen(
            name="pm",
            wish=Wish(Desired.RUNNING),
            wished_ts=0,
            known="running",
            known_handle="7",
            state=State.RUNNING,
            handle=handle,
            unheard="no answer",
        )

    history, heals = History(), []
    for now, handle in enumerate(("7", "8", "8")):
        made = plan(silent(handle), history, RULES, Leave(), float(now), "t-1")
        history = made.history
        heals.append(made.heal)
    assert heals == [None, None, Verb.RESTART], "the new one is given as many looks"
