"""Answers kept by idempotency key: bounds, age, and what a restart carries over."""

import asyncio
import os

import pytest

from agency.agent.answers import Answer, Answers, KeyReusedError, TooManyChangesError
from agency.agent.carrying import Again, Carried, next_argv, read_carried, write_carried
from agency.agent.state import AgentState
from agency.clock import Clock
from agency.errors import BadInputError


class Moment:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Counts how often it ran."""

    def __init__(self, status: int = 200, size: int = 1) -> None:
        self.ran = 0
        self.answer = Answer(status, b"x" * size)

    async def __call__(self) -> Answer:
        self.ran += 1
        return self.answer


async def test_a_key_runs_once_and_an_old_one_again():
    moment, work = Moment(), Work()
    answers = Answers(Clock(wall=moment))
    for _ in range(2):
        assert await answers.once("key-0001", "digest", work) == work.answer
    assert work.ran == 1
    moment.now += 3601
    await answers.once("key-0001", "digest", work)
    assert work.ran == 2


@pytest.mark.parametrize(("status", "ran"), [(200, 1), (404, 1), (502, 1), (501, 2), (503, 2)])
async def test_what_did_nothing_may_be_tried_again(status, ran):
    work, answers = Work(status), Answers(Clock())
    for _ in range(2):
        await answers.once("key-0001", "digest", work)
    assert work.ran == ran


async def test_a_failure_of_ours_may_be_tried_again():
    answers, work = Answers(Clock()), Work()

    async def fail() -> Answer:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await answers.once("key-0001", "digest", fail)
    await answers.once("key-0001", "digest", work)
    assert work.ran == 1


async def test_the_oldest_answers_give_way_to_new_ones():
    answers, works = Answers(Clock(), most=3), [Work() for _ in range(4)]
    for number, work in enumerate(works):
        await answers.once(f"key-{number}", "digest", work)
    assert [each.key for each in answers.carried()] == ["key-1", "key-2", "key-3"]


async def test_the_size_of_all_answers_has_a_bound():
    answers = Answers(Clock(), most_bytes=100)
    for number in range(5):
        await answers.once(f"key-{number}", "digest", Work(size=40))
    assert [each.key for each in answers.carried()] == ["key-3", "key-4"]


async def test_what_still_runs_is_not_forgotten():
    answers, release = Answers(Clock(), most=2), asyncio.Event()

    async def wait() -> Answer:
        await release.wait()
        return Answer(200, b"")

    waiting = [asyncio.create_task(answers.once(f"key-{n}", "digest", wait)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyChangesError):
        await answers.once("key-2", "digest", wait)
    with pytest.raises(KeyReusedError):
        await answers.once("key-0", "another", wait)
    release.set()
    await asyncio.gather(*waiting)
    await answers.once("key-2", "digest", Work())


async def test_a_restart_carries_document_and_answers():
    before, work = AgentState("pm", Clock()), Work()
    before.config = b"\x00\xffdocument"
    await before.answers.once("key-0001", "digest", work)
    descriptor = write_carried(before.carried())
    after = AgentState("pm", Clock())
    after.restore(read_carried(descriptor))
    assert after.config == before.config
    assert after.incarnation != before.incarnation
    assert await after.answers.once("key-0001", "digest", work) == work.answer
    assert work.ran == 1
    with pytest.raises(KeyReusedError):
        await after.answers.once("key-0001", "another", work)


def test_what_is_no_memory_of_a_predecessor_is_refused():
    good = write_carried(Carried())
    assert read_carried(good) == Carried()
    bad = os.memfd_create("test", 0)
    os.write(bad, b'{"more": 1}')
    for descriptor in (bad, good):  # the second is closed by now
        with pytest.raises(BadInputError, match="carried over"):
            read_carried(descriptor)


@pytest.mark.parametrize(
    "given",
    [
        ["-I", "-m", "agency", "agent", "run", "--json", "--config", "/a"],
        ["--listen-fd", "5", "-I", "-m", "agency", "agent", "run", "--json", "--config", "/a"],
        ["-I", "-m", "agency", "agent", "run", "--json", "--listen-fd=5", "--config", "/a"],
    ],
)
def test_the_next_run_has_the_same_arguments_and_its_own_descriptors(given):
    wanted = ["-I", "-m", "agency", "agent", "run", "--json", "--config", "/a"]
    first = next_argv(given, Again(7, 8))
    assert first == [*wanted, "--listen-fd", "7", "--carried-fd", "8"]
    assert next_argv(first, Again(9, 10)) == [*wanted, "--listen-fd", "9", "--carried-fd", "10"]
