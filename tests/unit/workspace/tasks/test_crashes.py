"""A crash before any single call to the kernel neither loses a task nor does one twice."""

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest
from task_places import Counting, loop_in, place_in, states

from agency.errors import PrerequisiteError
from agency.workspace.tasks.performer import Performed

CALLS = ("write", "fsync", "ftruncate", "truncate", "replace", "unlink", "fchmod", "open")
TASKS = ("a", "b: needs: [a]")


class Crash(BaseException):
    """The machine is off from here on: not even what is in a finally clause happens."""


class Kernel:
    """Lets a number of calls pass, and none after them; `full`: no write, as on a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.torn = self.full = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call):
        def counted(*arguments, **named):
            if self.left is not None:
                if self.left == 0:
                    return self.fails(call, *arguments, **named)
                self.left -= 1
            return call(*arguments, **named)

        return counted

    def fails(self, call, *arguments, **named):
        writes = call.__name__ in {"write", "fsync"}
        if self.full and not writes:
            return call(*arguments, **named)
        if self.torn and call.__name__ == "write":
            self.torn = False
            call(arguments[0], bytes(arguments[1])[:30])
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Crash

    def lives(self) -> bool:
        return self.left != 0


def run(place, performer) -> None:
    asyncio.run(loop_in(place, performer).run())


@pytest.mark.parametrize("torn", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_crash_anywhere(tmp_path, monkeypatch, torn):
    kernel = Kernel(monkeypatch)
    crashes = unknown = after = 0
    while True:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        place = place_in(tmp_path, *TASKS)

        class Powered(Counting):
            async def perform(self, assignment):
                if not kernel.lives():
                    raise Crash
                return await super().perform(assignment)

        first, second = Powered(), Counting()
        kernel.left, kernel.torn = after, torn
        try:
            run(place, first)
        except Crash:
            crashes += 1
        finished = kernel.lives()
        kernel.left = None
        run(place, second)
        done = first.performed + second.performed
        found = states(place)
        assert len(done) == len(set(done)), done
        assert set(found) == set("ab")
        for name, status in found.items():
            # What was done and is not on record is called unknown; only b may wait, for a.
            allowed = {"completed", "unknown"} if name in done else {"unknown", "pending"}
            assert status in allowed, (after, found, done)
        if found["b"] == "pending":
            assert found["a"] == "unknown"
        unknown += "unknown" in found.values()
        if finished:
            break
        after += 1
    assert crashes > 30
    assert unknown > 3


@pytest.mark.thorough
def test_a_full_disk_anywhere(tmp_path, monkeypatch):
    """As a crash; and when there is room again, what had not begun is done."""
    kernel = Kernel(monkeypatch)
    kernel.full = True
    refused = after = 0
    while True:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        place = place_in(tmp_path, *TASKS)
        first, second = Counting(), Counting()
        kernel.left = after
        try:
            run(place, first)
        except PrerequisiteError as error:
            refused += "No space left" in str(error)
        finished = kernel.lives()
        kernel.left = None
        run(place, second)
        done = first.performed + second.performed
        found = states(place)
        assert len(done) == len(set(done)), done
        for name, status in found.items():
            allowed = {"completed", "unknown"} if name in done else {"unknown", "pending"}
            assert status in allowed, (after, found, done)
        if finished:
            break
        after += 1
    assert refused > 10


def test_what_is_acted_upon_is_on_disk_before(tmp_path, monkeypatch):
    """A power cut loses what was written and not flushed, which no crash of a process shows."""
    flushed: dict[str, bytes] = {}
    real = os.fsync

    def fsync(descriptor):
        real(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed[str(path)] = b"" if path.is_dir() else path.read_bytes()

    monkeypatch.setattr(os, "fsync", fsync)
    place = place_in(tmp_path, "a", "b")
    seen = []

    def act(_):
        path = place.journal.path
        seen.append(flushed[str(path)] == path.read_bytes() and str(path.parent) in flushed)
        return Performed("completed", "done")

    run(place, Counting(act))
    assert seen == [True, True]
    assert flushed[str(place.journal.path)] == place.journal.path.read_bytes()


def test_half_a_record_of_a_full_disk_spoils_no_later_one(tmp_path, monkeypatch):
    place = place_in(tmp_path)
    place.state.mkdir(mode=0o700)
    place.journal.append("a", "intended", "r")
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:20]))
        with pytest.raises(PrerequisiteError, match="No space left"):
            place.journal.append("b", "intended", "r")
    place.journal.append("c", "intended", "r")
    assert list(place.journal.read()) == ["a", "c"]


def test_a_disk_that_fills_while_a_task_is_done(tmp_path, monkeypatch):
    kernel = Kernel(monkeypatch)
    kernel.full = True
    place = place_in(tmp_path, "a", "b")

    def act(_):
        kernel.left = 0
        return Performed("completed", "done")

    with pytest.raises(PrerequisiteError, match="No space left"):
        run(place, Counting(act))
    kernel.left = None
    second = Counting()
    run(place, second)
    assert second.performed == ["b"]
    assert states(place) == {"a": "unknown", "b": "completed"}
