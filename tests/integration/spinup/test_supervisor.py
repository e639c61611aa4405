"""The supervisor: ready means ready, an ended service is noticed, all stop at once."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from agency.children import ChildError, ChildSpec, processes_with_marker
from agency.clock import new_id
from agency.spinup.targets.local.supervisor import Service, ServiceError, Supervisor

ENDS = "import signal, sys, time; from pathlib import Path\n"
WRITES = (
    ENDS
    + """
name, log = sys.argv[1:]
def end(*_):
    with open(log, "a") as f: f.write(name + " ended\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open(log, "a") as f: f.write(name + " began\\n")
print("a line in the log", flush=True)
while True: time.sleep(0.05)
"""
)
MEETS = WRITES.replace(
    "    sys.exit(0)",
    """    sys.exit(0)
def wait(*_):
    with open(log, "a") as f: f.write(name + " asked\\n")
    while "OTHER asked" not in Path(log).read_text(): time.sleep(0.01)
    end()""",
).replace("SIGTERM, end", "SIGTERM, wait")


class Bench:
    """Services that write to one file when they begin and end."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.diary = place / "diary"
        self.supervisor = Supervisor(marker=new_id("test"))

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def service(
        self, name: str, code: str = WRITES, timeout_s: float = 20, *, never: bool = False
    ) -> Service:
        async def ready() -> bool:
            return not never and f"{name} began" in self.lines()

        spec = ChildSpec(
            name=name,
            argv=(sys.executable, "-c", code, name, str(self.diary)),
            env={"PATH": os.environ["PATH"]},
            cwd=self.place,
            log_path=self.place / f"{name}.log",
        )
        return Service(spec, ready, timeout_s)


@pytest.fixture
async def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    await made.supervisor.stop_all()
    assert processes_with_marker(made.supervisor.marker) == ()


async def test_services_stop_at_once(bench):
    """Each ends only when the other was asked too: one after the other, none would by itself."""
    for name, other in (("first", "second"), ("second", "first")):
        code = MEETS.replace("OTHER", other)
        await bench.supervisor.start(bench.service(name, code))
    await bench.supervisor.stop_all()
    assert bench.lines()[:2] == ["first began", "second began"]
    assert sorted(bench.lines()[2:]) == [
        "first asked",
        "first ended",
        "second asked",
        "second ended",
    ]


async def test_a_service_that_does_not_end_keeps_no_other_from_its_end(bench, monkeypatch):
    children = [await bench.supervisor.start(bench.service(name)) for name in ("first", "second")]

    async def hang(_: float) -> int:
        raise ChildError("does not end, even after SIGKILL", where="second")

    stop = type(children[1]).stop
    monkeypatch.setattr(
        type(children[1]), "stop", lambda self, t: hang(t) if self is children[1] else stop(self, t)
    )
    with pytest.raises(ChildError, match="does not end"):
        await bench.supervisor.stop_all()
    assert bench.lines() == ["first began", "second began", "first ended"]
    monkeypatch.undo()
    await children[1].stop(5)


async def test_a_service_that_ends_at_start_is_reported_with_its_log(bench):
    code = ENDS + "print('no such thing as luck', flush=True); sys.exit(7)"
    with pytest.raises(ServiceError) as caught:
        await bench.supervisor.start(bench.service("luckless", code, never=True))
    assert "exit status 7" in caught.value.message
    assert caught.value.where == "luckless"
    assert "no such thing as luck" in "\n".join(caught.value.log_tail)


async def test_a_service_that_never_becomes_ready_is_given_up(bench):
    begun = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        await bench.supervisor.start(bench.service("slow", timeout_s=1, never=True))
    assert "not ready within 1 s" in caught.value.message
    assert time.monotonic() - begun < 30


async def test_the_watch_tells_which_service_ended(bench):
    await bench.supervisor.start(bench.service("stays"))
    child = await bench.supervisor.start(bench.service("goes"))
    watch = asyncio.ensure_future(bench.supervisor.watch())
    await asyncio.sleep(0)
    assert not watch.done()
    os.kill(child.pid, 9)
    with pytest.raises(ServiceError) as caught:
        await asyncio.wait_for(watch, 20)
    assert caught.value.service == "goes"


async def test_a_restarted_service_is_another_process(bench):
    before = await bench.supervisor.start(bench.service("again"))
    after = await bench.supervisor.restart("again")
    assert before.pid != after.pid
    assert before.exit_status is not None
    assert list(bench.supervisor.children()) == ["again"]
