"""`agency workspace audit` as a person, an agent and systemd call it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage import flags

SENDER = Sender(4711, 42)
COMMAND = [sys.executable, "-m", "agency", "workspace", "audit"]
SERVE = ["workspace", "audit", "serve", "--retention-days", "90"]
# What systemd does: the socket becomes descriptor 3 of the process whose id LISTEN_PID says.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "agency", *sys.argv[2:]])
"""


def agency(*arguments: str) -> int:
    return run(cli, ["workspace", "audit", *arguments], prog_name="agency")


@pytest.fixture
def written(directory, open_log):
    log = open_log()
    head = log.append(SENDER, "x", {"n": 1})
    log.close()
    return head


def test_verify(directory, written, free, capsys) -> None:
    assert agency("verify", "--directory", str(directory), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["agents"][0]["head"] == {"sequence": 2, "hash": written.hash}
    assert agency("verify", "--directory", str(directory)) == 0
    assert f"good pm: records 1 to 2 in 1 files; head {written.hash}" in capsys.readouterr().out

    free(directory)
    file = directory / "pm.jsonl"
    file.write_bytes(file.read_bytes().replace(b'{"n":1}', b'{"n":2}'))
    assert agency("verify", "--directory", str(directory), "--json", "--agent", "pm") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    broken = found["agents"][0]["broken"]
    assert (broken["file"], broken["line"]) == ("pm.jsonl", 2)
    assert agency("verify", "--directory", str(directory)) == 1
    assert "broken pm: pm.jsonl:2: was edited" in capsys.readouterr().out


def test_verify_with_a_kept_head(directory, written) -> None:
    def verify(head: str, *more: str) -> int:
        return agency("verify", "--directory", str(directory), "--head", head, *more)

    assert verify(f"2:{written.hash}", "--agent", "pm") == 0
    assert verify(f"3:{written.hash}", "--agent", "pm") == 1
    assert verify(f"2:{'0' * 64}", "--agent", "pm") == 1
    assert verify(f"2:{written.hash}") == 2
    assert verify("2", "--agent", "pm") == 2


def test_what_is_not_there_cannot_be_verified(directory, tmp_path, capsys) -> None:
    assert agency("verify", "--directory", str(tmp_path / "none")) == 3
    assert agency("verify", "--directory", str(directory), "--agent", "pm") == 3
    assert "no log of an agent 'pm'" in capsys.readouterr().err
    assert agency("verify", "--directory", str(directory)) == 0
    assert "no log yet" in capsys.readouterr().out


def test_status(directory, open_log, free, tmp_path, capsys) -> None:
    def status() -> dict:
        options = ("--directory", str(directory), "--socket", str(tmp_path / "none"), "--json")
        assert agency("status", *options) == 0
        return json.loads(capsys.readouterr().out)

    assert (status()["appendOnly"], status()["listening"]) == (None, False)
    log = open_log()
    log.close()
    found = status()
    assert found["appendOnly"] is log.protection.append_only
    (entry,) = found["agents"]
    assert (entry["agent"], entry["sequence"], entry["closedFiles"]) == ("pm", 1, 0)
    if not found["appendOnly"]:
        assert log.protection.reason in found["reason"]
        pytest.skip(f"no append-only here: {found['reason']}")
    free(directory)
    found = status()
    assert found["appendOnly"] is False
    assert "was cleared since" in found["reason"]


# Where the kernel refuses the flag, as in a container.

OPEN = """
import sys
from pathlib import Path
from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.storage.log import AgentLog
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.record import Sender
bounds = Bounds(free_bytes=0, file_bytes=600)
log = AgentLog(Place(Path(sys.argv[1])), "pm", Clock(), bounds)
for _ in range(5):
    log.append(Sender(4711, 42), "x", {})
print(log.protection.append_only, log.protection.reason, sep="|")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up one capability of root's needs root")
def test_a_kernel_that_refuses_the_flag_is_reported(directory, verify, records, capsys) -> None:
    drop = ["setpriv", "--inh-caps=-linux_immutable", "--bounding-set=-linux_immutable"]
    argv = [*drop, sys.executable, "-c", OPEN, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    refused, _, reason = done.stdout.strip().partition("|")
    assert refused == "False"
    assert "does not let" in reason
    assert verify().ok, "rotation works without the flag"
    assert verify().files >= 3
    assert records()[0]["detail"] == {"appendOnly": False, "reason": reason}
    assert agency("status", "--directory", str(directory), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["appendOnly"] is False
    assert reason in found["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving up capabilities of root's needs root")
def test_the_one_capability_of_the_unit_is_enough(directory, verify) -> None:
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+linux_immutable"]
    argv = [*drop, sys.executable, "-c", OPEN, str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    kept, _, reason = done.stdout.strip().partition("|")
    assert verify().ok
    assert verify().files >= 3
    if kept != "True":
        pytest.skip(f"no append-only here: {reason}")
    for file in directory.iterdir():
        with pytest.raises(PermissionError):
            file.unlink()


def test_rotation_keeps_the_flags(directory, open_log) -> None:
    from agency.workspace.audit.bounds import Bounds

    log = open_log(Bounds(free_bytes=0, file_bytes=600))
    if not log.protection.append_only:
        pytest.skip(f"no append-only here: {log.protection.reason}")
    for _ in range(5):
        log.append(SENDER, "x", {})
    files = list(directory.iterdir())
    assert len(files) >= 3
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        assert flags.observe(descriptor).append_only, file.name
        os.close(descriptor)
        with pytest.raises(PermissionError):
            file.unlink()
        if file.name != "pm.jsonl":
            with pytest.raises(PermissionError):
                file.open("ab")


# The service as systemd starts it.


@pytest.fixture
def activated(directory, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        options = [*SERVE, "--directory", str(directory)]
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(listening.fileno()), *options],
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        yield path, process
        process.kill()
        process.communicate()


def test_the_service_takes_the_socket_of_systemd(activated, directory, capsys) -> None:
    """Who runs this test is no agent, which is what the real service says."""
    path, process = activated
    assert agency("record", "task.done", "--detail", "n=1", "--socket", str(path)) == 1
    assert f"uid {os.geteuid()} is not an agent's" in capsys.readouterr().err
    second = subprocess.run(
        [sys.executable, "-c", ACTIVATE, "0", *SERVE, "--directory", str(directory)],
        stdin=socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 3
    assert "not a listening Unix stream socket" in second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert path.is_socket(), "its name is systemd's to keep"
    assert "refused: no agent" in process.stderr.read()


def test_without_a_socket_it_does_not_start(directory) -> None:
    argv = [*COMMAND, "serve", "--retention-days", "90", "--directory", str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "systemd passed no socket" in done.stderr


def test_record_without_a_service(tmp_path, capsys) -> None:
    assert agency("record", "x", "--socket", str(tmp_path / "none")) == 3
    assert "is not there" in capsys.readouterr().err


@pytest.mark.parametrize("detail", [["n"], ["n=1", "n=2"]])
def test_details_are_keys_and_values(detail, tmp_path) -> None:
    options = [word for one in detail for word in ("--detail", one)]
    assert agency("record", "x", *options, "--socket", str(tmp_path / "none")) == 2


async def test_record(service, records, capsys) -> None:
    argv = [*COMMAND, "record", "task.done", "--detail", "a=b=c", "--json"]
    process = await asyncio.create_subprocess_exec(
        *argv, "--socket", str(service.socket), stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    last = records()[-1]
    assert json.loads(out) == {"sequence": last["sequence"], "hash": last["hash"]}
    assert (last["event"], last["detail"]) == ("task.done", {"a": "b=c"})
    assert last["pid"] == process.pid
