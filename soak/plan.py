"""The plan of a run: what operators say, and what happens to the parts; all from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

PLAIN_SHARE = 0.86


class Manner(StrEnum):
    """Manner in which a command is sent."""

    PLAIN = "plain"
    THREAD = "thread"  # inside a thread of talk
    EDIT = "edit"  # talk that is edited into a command
    THREAD_EDIT = "thread-edit"  # the same inside a thread
    REDACTED = "redacted"  # taken back a moment later


@dataclass(frozen=True, slots=True)
class Step:
    """One command of an operator. `project` is unique, so that no answer fits two commands."""

    number: int
    at_s: float
    operator: int
    manner: Manner
    verb: str
    agent: str = ""
    project: str = ""
    later_s: float = 0.0  # from the command to its redaction

    @property
    def text(self) -> str:
        """The command as it is typed."""
        words = ["!agency", *(("agents",) if self.agent or self.verb == "list" else ())]
        words += [self.verb, *((self.agent,) if self.agent else ())]
        return " ".join([*words, *((f"--project={self.project}",) if self.project else ())])

    @property
    def changes(self) -> bool:
        """True if the command changes an agent."""
        return self.verb in ("start", "stop", "restart")


class Act(StrEnum):
    """Kinds of disruption of a part."""

    KILL = "kill -9"
    TERM = "term"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Blow:
    """One disruption, `gap_s` after the last one is over; `for_s` of pause or absence."""

    gap_s: float
    part: str
    act: Act
    for_s: float


def steps(seed: int, count: int, minutes: float, agents: tuple[str, ...]) -> list[Step]:
    """Plan the commands, spread over the time at random."""
    draw = random.Random(f"steps {seed}")
    times = sorted(draw.uniform(0, minutes * 60) for _ in range(count))
    return [_step(draw, number, at_s, agents) for number, at_s in enumerate(times, 1)]


def _step(draw: random.Random, number: int, at_s: float, agents: tuple[str, ...]) -> Step:
    verb = draw.choices(
        ["ping", "version", "list", "status", "start", "stop", "restart"],
        [20, 5, 8, 25, 18, 12, 12],
    )[0]
    manner = Manner.PLAIN
    if draw.random() > PLAIN_SHARE:
        manner = draw.choice(list(Manner)[1:])
    agent = draw.choice(agents) if verb in ("status", "start", "stop", "restart") else ""
    named = verb in ("start", "restart") and draw.random() < 0.7
    return Step(
        number,
        at_s,
        draw.randrange(3),
        manner,
        verb,
        agent,
        f"p{number}" if named else "",
        draw.choice([0.0, 0.05, 1.0]),
    )


def blows(seed: int, parts: tuple[str, ...], calm_s: float) -> list[Blow]:
    """Plan disruptions, more than a run can hold; each part comes once before any comes twice."""
    draw = random.Random(f"blows {seed}")
    plan: list[Blow] = []
    while len(plan) < 2000:
        shuffled = draw.sample(parts, len(parts))
        for part in shuffled:
            act = draw.choice(list(Act))
            for_s = draw.uniform(0.5, 6.0) if act is Act.PAUSE else draw.uniform(0.0, 3.0)
            plan.append(Blow(draw.uniform(0.3, 1.7) * calm_s, part, act, for_s))
    return plan
