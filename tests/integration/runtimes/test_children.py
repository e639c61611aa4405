"""children.py with real processes: start, end, group, log, environment, refusals."""

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.children import Child, ChildError, ChildSpec, start_child
from agency.errors import PrerequisiteError

MARKER = f"test-children-{os.getpid()}"
READY = "print('ready', flush=True);"


def spec(tmp_path: Path, code: str, **env: str) -> ChildSpec:
    return ChildSpec(
        name="child",
        argv=(sys.executable, "-c", code),
        env=env,
        cwd=tmp_path,
        log_path=tmp_path / "log",
    )


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def ready(child: Child) -> None:
    await until(lambda: "ready" in child.log_tail(10, 1000))


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # killed; its new parent has yet to reap it


async def test_exit_status_and_log(tmp_path: Path) -> None:
    child = await start_child(
        spec(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"),
        marker=MARKER,
    )
    assert await child.wait() == 7
    assert child.exit_status == 7
    assert sorted(child.log_tail(10, 1000)) == ["err", "out"]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert child.started_at.endswith("Z")


async def test_environment_is_exactly_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "canary")
    monkeypatch.delenv("AGENCY_RUN", raising=False)
    code = "import os; print(sorted(os.environ)); print(os.environ['AGENCY_RUN'], os.getcwd())"
    child = await start_child(spec(tmp_path, code, GIVEN="1"), marker=MARKER)
    assert await child.wait() == 0
    names, where = child.log_tail(2, 1000)
    assert names.replace(", 'LC_CTYPE'", "") == str(["AGENCY_RUN", "GIVEN", "HOME", "LANG", "PATH"])
    assert where == f"{MARKER} {tmp_path}"


async def test_a_child_of_a_marked_process_carries_both_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENCY_RUN", "outer")
    code = "import os; print(os.environ['AGENCY_RUN'])"
    child = await start_child(spec(tmp_path, code), marker=MARKER)
    await child.wait()
    assert child.log_tail(1, 1000) == (f"outer/{MARKER}",)


async def test_stop_is_gentle_first(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0));"
        f"{READY} time.sleep(600)"
    )
    child = await start_child(spec(tmp_path, code), marker=MARKER)
    await ready(child)
    assert child.exit_status is None
    assert await child.stop(timeout=20) == 0
    assert await child.stop(timeout=20) == 0, "stopping an ended child returns its status again"


async def test_stop_kills_what_ignores_sigterm(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"{READY} time.sleep(600)"
    )
    child = await start_child(spec(tmp_path, code), marker=MARKER)
    await ready(child)
    assert await child.stop(timeout=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("end", ["stop", "exit", "kill"])
async def test_the_group_ends_with_its_leader(tmp_path: Path, end: str) -> None:
    last = "sys.exit(3)" if end == "exit" else "time.sleep(600)"
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"print(p.pid, flush=True); {READY} {last}"
    )
    child = await start_child(spec(tmp_path, code), marker=MARKER)
    await ready(child)
    grandchild = int(child.log_tail(2, 1000)[0])
    if end == "stop":
        await child.stop(timeout=20)
    if end == "kill":
        os.kill(child.pid, signal.SIGKILL)
    assert await child.wait() == {"stop": -15, "exit": 3, "kill": -9}[end]
    await until(lambda: gone(grandchild))


async def test_status_is_seen_without_waiting(tmp_path: Path) -> None:
    child = await start_child(
        spec(tmp_path, f"{READY} import time; time.sleep(600)"), marker=MARKER
    )
    await ready(child)
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while child.exit_status is None:  # the event loop is not run in here
        assert time.monotonic() < deadline
    assert child.exit_status == -signal.SIGKILL
    assert await child.wait() == -signal.SIGKILL


async def test_a_cancelled_wait_may_be_repeated(tmp_path: Path) -> None:
    child = await start_child(
        spec(tmp_path, f"{READY} import time; time.sleep(600)"), marker=MARKER
    )
    waiting = asyncio.ensure_future(child.wait())
    await ready(child)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert child.exit_status is None
    assert await child.stop(timeout=20) == -signal.SIGTERM


async def test_log_tail_is_bounded_and_its_own(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("from before\n")
    code = "print('\\n'.join(f'line {n}' for n in range(1000)))"
    child = await start_child(spec(tmp_path, code), marker=MARKER)
    await child.wait()
    assert child.log_tail(2, 10_000) == ("line 998", "line 999")
    assert child.log_tail(100, 20) == ("line 998", "line 999"), "the cut line is left out"
    assert "from before" not in child.log_tail(5000, 100_000)
    assert len(child.log_tail(5000, 100_000)) == 1000


async def test_pass_fds(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        code = f"import os; os.write({writer}, b'hello')"
        plain = spec(tmp_path, code)
        child = await start_child(
            ChildSpec(plain.name, plain.argv, {}, tmp_path, plain.log_path, pass_fds=(writer,)),
            marker=MARKER,
        )
        assert await child.wait() == 0
        assert os.read(reader, 10) == b"hello"
        closed = await start_child(plain, marker=MARKER)
        assert await closed.wait() != 0, "a descriptor that is not passed is closed"
    finally:
        os.close(reader)
        os.close(writer)


async def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = spec(tmp_path, "pass")
    with pytest.raises(PrerequisiteError, match="no-such-program"):
        await start_child(
            ChildSpec("x", ("no-such-program",), {}, tmp_path, tmp_path / "l"), marker=MARKER
        )
    with pytest.raises(PrerequisiteError, match="log"):
        await start_child(
            ChildSpec("x", good.argv, {}, tmp_path, tmp_path / "no" / "l"), marker=MARKER
        )
    with pytest.raises(ChildError, match="No such file"):
        await start_child(
            ChildSpec("x", good.argv, {}, tmp_path / "no", tmp_path / "l"), marker=MARKER
        )
    with pytest.raises(ValueError, match="marker"):
        await start_child(good, marker="a/b")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="setpriv") as caught:
        await start_child(good, marker=MARKER)
    assert caught.value.hint == "install util-linux"


async def test_a_symbolic_link_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(PrerequisiteError):
        await start_child(spec(tmp_path, "pass"), marker=MARKER)
