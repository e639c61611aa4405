"""The ends of jobs, announced before or after anybody asks."""

from __future__ import annotations

import asyncio

from agency.systemd.jobs import LOST, MAX_ENDED, Jobs


async def test_an_end_is_told_whenever_it_came() -> None:
    jobs = Jobs()
    jobs.announce("/job/1", "done")
    assert await jobs.end_of("/job/1") == "done"
    later = jobs.end_of("/job/2")
    assert not later.done()
    jobs.announce("/job/3", "failed")
    assert not later.done(), "another's end is not its own"
    jobs.announce("/job/2", "canceled")
    assert await later == "canceled"


async def test_all_who_wait_for_one_job_are_told_and_one_may_give_up() -> None:
    jobs = Jobs()
    first, second = jobs.end_of("/job/1"), jobs.end_of("/job/1")
    first.cancel()
    await asyncio.sleep(0)
    jobs.announce("/job/1", "done")
    assert await second == "done"


async def test_a_lost_connection_ends_the_waiting() -> None:
    jobs = Jobs()
    waiting = jobs.end_of("/job/1")
    jobs.announce("/job/2", "done")
    jobs.abandon()
    assert await waiting == LOST
    # After a reconnection the numbers begin anew: an old end says nothing of a new job.
    assert not jobs.end_of("/job/2").done()


async def test_what_nobody_asks_for_is_forgotten_in_the_end() -> None:
    jobs = Jobs()
    for number in range(MAX_ENDED + 1):
        jobs.announce(f"/job/{number}", "done")
    assert not jobs.end_of("/job/0").done()
    assert await jobs.end_of("/job/1") == "done"
    assert await jobs.end_of(f"/job/{MAX_ENDED}") == "done"
