"""A tool server that was taken over: it reaches its own things, and none of the gateway.

It has the gateway's user, so that the kernel's Landlock alone stands between them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gatewaying import Running, allow, document, server, told
from thieving import attempt

from agency.agent.gateway.servers import fence, landlock
from agency.agent.gateway.servers.fence import Fence
from agency.errors import PrerequisiteError

NOTHING = "refused: "


def processes_of(word: str) -> list[int]:
    """The processes whose command line has a word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found


async def test_a_server_that_was_taken_over_gets_nothing_of_the_gateway(
    gateway: Running, place: Path
) -> None:
    servers = {
        "thief": server("thief", place / "thief", secrets={"API_KEY": "own"}),
        "bank": server("good", place / "bank", secrets={"API_KEY": "other"}),
    }
    keys = {name: {} for name in ("own", "other")}
    await gateway.give(document(servers, {"all": allow("*")}, secrets=keys), ready=False)
    await gateway.hold({"own": "the-key-of-the-thief", "other": "the-key-of-the-bank"})
    await gateway.until(lambda s: all(each.health == "ok" for each in s.servers))
    assert gateway.process is not None
    own = gateway.process.pid
    (bank,) = processes_of(str(place / "bank"))
    (thief,) = processes_of(str(place / "thief"))
    state = place / "state"
    (state / "servers" / "bank" / "notes").write_text("of the bank")
    (place / "link").symlink_to(place / "credentials")

    async with gateway.program() as program:

        async def tries(what: str, on: object = "") -> str:
            result = await program.call_tool("thief__echo", {"text": f"{what} {on}"})
            return told(result)

        reads = [
            place / "credentials" / "gateway-token",
            place / "credentials" / "gateway-control-token",
            place / "link" / "gateway-token",
            state / "calls.jsonl",
            state / "policy.json",
            state / "accepted.json",
            state / "servers" / "bank" / "notes",
            f"/proc/{own}/environ",
            f"/proc/{own}/root{place}/credentials/gateway-token",
            f"/proc/{bank}/environ",
        ]
        assert NOTHING in await tries("read", f"/proc/{own}/mem")
        for each in reads:
            assert NOTHING not in attempt("read", str(each)), "of the same user, without the fence"
            assert NOTHING in await tries("read", each), each
        for each in (place / "credentials" / "gateway-token", state / "calls.jsonl"):
            assert NOTHING in await tries("write", each)
            assert NOTHING in await tries("remove", each)
        assert NOTHING in await tries("remove", gateway.control_socket)
        stolen = f"{place / 'credentials'}:{place / 'thief' / 'credentials'}"
        assert NOTHING in await tries("move", stolen)
        for pid in (own, bank):
            assert NOTHING in await tries("trace", pid)
            if fence.signals_are_kept():
                assert NOTHING in await tries("signal", pid)

        # What is its own, it has: directory, secret, children, and what its user may read.
        home = state / "servers" / "thief"
        assert "written" in await tries("write", home / "notes")
        assert "mine" in await tries("read", home / "notes")
        assert "written" in await tries("write", place / "thief" / "found")
        assert f"HOME={home}" in await tries("read", f"/proc/{thief}/environ")
        assert "signalled traced" in await tries("child")
        assert "root:" in await tries("read", "/etc/passwd")
        result = told(await program.call_tool("bank__echo", {"text": "open"}))
        assert "\nopen\n" in result
    assert gateway.process.poll() is None
    assert (place / "credentials" / "gateway-token").read_text() == gateway.token


def test_without_the_fence_the_same_server_would_get_it(tmp_path: Path) -> None:
    """The same user reads the same files: what is refused is refused by the fence."""
    token = tmp_path / "hidden" / "token"
    token.parent.mkdir()
    token.write_text("the token")
    beside = tmp_path / "beside"
    beside.write_text("no secret")
    code = "import sys; print(open(sys.argv[1]).read())"

    def reads(path: Path, *prefix: str) -> tuple[int, str]:
        argv = [*prefix, sys.executable, "-c", code, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout.strip() or done.stderr

    prefix = Fence(frozenset({token.parent})).prefix()
    assert reads(token) == (0, "the token")
    assert reads(beside, *prefix) == (0, "no secret")
    status, said = reads(token, *prefix)
    assert status == 1
    assert "Permission denied" in said
    opened = Fence(frozenset({tmp_path}), (token.parent,)).prefix()
    assert reads(token, *opened) == (0, "the token")
    assert reads(beside, *opened)[0] == 1


def test_a_kernel_without_landlock_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(PrerequisiteError, match="no Landlock"):
        Fence(frozenset({Path("/nowhere")})).prefix()


def test_a_fence_that_cannot_be_put_up_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    argv = [sys.executable, "-I", "-S", landlock.__file__, "{}", "touch", str(ran)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == landlock.FAILED
    assert "not started" in done.stderr
    assert not ran.exists()
