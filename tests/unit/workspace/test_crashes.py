"""A crash before any single call to the kernel loses nothing that was acknowledged."""

import fcntl
import os

import pytest

from agency.workspace.audit.bounds import DAY_S, Bounds
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.verify import verify_agent

AGENT = "pm"
SENDER = Sender(4711, 42)
SMALL = Bounds(free_bytes=0, file_bytes=1200)
CALLS = ("write", "fsync", "ftruncate", "rename", "unlink", "fchmod", "open")


class Crash(BaseException):
    """The machine is off from here on: not even what is in a finally clause happens."""


class Kernel:
    """Lets a number of calls pass, and none after them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.torn = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(fcntl, "ioctl", self.counted(fcntl.ioctl))

    def counted(self, call):
        def counted(*arguments, **named):
            if self.left is not None:
                if self.left == 0:
                    if self.torn and call.__name__ == "write":
                        self.torn = False
                        call(arguments[0], bytes(arguments[1])[:30])
                    raise Crash
                self.left -= 1
            return call(*arguments, **named)

        return counted


def scenario(directory, moment, acknowledged: list) -> None:
    """Opening, events, a rotation by size and one by day, and a removal."""
    with Place(directory) as place:
        logs = Logs(place, moment.clock(), SMALL, retention_days=2)
        for _ in range(3):
            for _ in range(4):
                head = logs.append(AGENT, SENDER, "x", {"text": "y" * 100})
                acknowledged.append(head)
            moment.now += DAY_S
            logs.housekeep()
        logs.close()


@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_anywhere(directory, moment, monkeypatch, free, torn) -> None:
    kernel = Kernel(monkeypatch)
    start, crashes, after = moment.now, 0, 0
    while True:
        moment.now, acknowledged = start, []
        kernel.left, kernel.torn = after, torn
        try:
            scenario(directory, moment, acknowledged)
        except Crash:
            crashes += 1
        finished = kernel.left != 0
        kernel.left = None
        check(directory, moment, acknowledged)
        free(directory)
        for file in directory.iterdir():
            file.unlink()
        if finished:
            break
        after += 1
    assert crashes > 100
    assert len(acknowledged) == 12


def test_a_crash_anywhere_in_mending(directory, moment, monkeypatch, free) -> None:
    """A torn end, and a crash while it is put aside: it is on record once, and nothing is lost."""
    kernel = Kernel(monkeypatch)
    path, after, crashes = directory / "pm.jsonl", 0, 0
    while True:
        acknowledged: list = []
        with Place(directory) as place:
            logs = Logs(place, moment.clock(), SMALL, retention_days=2)
            acknowledged.append(logs.append(AGENT, SENDER, "x", {}))
            logs.close()
        free(directory)
        path.write_bytes(path.read_bytes() + b"torn")
        kernel.left = after
        try:
            with Place(directory) as place:
                logs = Logs(place, moment.clock(), SMALL, retention_days=2)
                logs.open_all()
                logs.close()
        except Crash:
            crashes += 1
        finished = kernel.left != 0
        kernel.left = None
        check(directory, moment, acknowledged)
        lines = b"".join(file.read_bytes() for file in directory.glob("*.jsonl"))
        assert lines.count(b'"log.torn"') == 1
        assert [file.read_bytes() for file in directory.glob("pm.torn-*")] == [b"torn"]
        free(directory)
        for file in directory.iterdir():
            file.unlink()
        if finished:
            break
        after += 1
    assert crashes > 20


def check(directory, moment, acknowledged: list) -> None:
    """The next start mends it; the chain holds, with all that was acknowledged and not removed."""
    with Place(directory) as place:
        logs = Logs(place, moment.clock(), SMALL, retention_days=2)
        logs.open_all()
        head = logs.append(AGENT, SENDER, "again", {})
        report = verify_agent(place, AGENT, head)
        assert report.ok, report.broken
        kept = [old for old in acknowledged if old.sequence >= report.first]
        for old in kept[-1:]:
            assert verify_agent(place, AGENT, old).ok
        assert not list(directory.glob("*.pending"))
        logs.close()
