"""The namespace keeps traffic in, and the proof can tell a namespace from none."""

import json
import os
import subprocess
import sys

import pytest

INSIDE = """
import ctypes, encodings.idna, json, os, socket, sys, threading
from agency import quarantine
if len(sys.argv) > 1:  # now, when all is loaded: another user may not read a checkout in a home
    os.setgroups([])
    os.setresgid(*[int(sys.argv[1])] * 3)
    os.setresuid(*[int(sys.argv[1])] * 3)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is the new user's
outer = os.readlink("/proc/self/ns/net")
state = quarantine.enter()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), 2)
print(json.dumps({
    "mode": state.mode, "reason": state.reason,
    "changed": os.readlink("/proc/self/ns/net") != outer,
    "interfaces": quarantine.interfaces(),
    "attempts": [[a.destination, a.outcome] for a in quarantine.attempt_outbound()],
}))
"""


def run_inside(*user: str) -> dict:
    argv = [sys.executable, "-c", INSIDE, *user]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.needs_root
def test_only_loopback_and_no_way_out():
    seen = run_inside()
    if seen["mode"] == "none":
        pytest.skip(f"no network namespace on this kernel: {seen['reason']}")
    assert seen["changed"]
    assert seen["interfaces"] == ["lo"]
    assert len(seen["attempts"]) == 3
    assert {outcome for _, outcome in seen["attempts"]} == {"unreachable"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_an_unprivileged_user_gets_one_too_or_is_told_why_not():
    seen = run_inside("65534")
    if seen["mode"] == "none":
        assert seen["reason"]
        assert not seen["attempts"] or seen["changed"]
    else:
        assert seen["interfaces"] == ["lo"]
        assert {outcome for _, outcome in seen["attempts"]} == {"unreachable"}


def test_without_a_namespace_no_attempt_is_made(monkeypatch):
    from agency import quarantine
    from agency.spinup.probes import host

    def never() -> list:
        raise AssertionError("an attempt was made outside a namespace")

    monkeypatch.setattr(quarantine, "attempt_outbound", never)
    evidence = host.outbound(quarantine.Quarantine("none", "asked for none"))
    assert evidence["mode"] == "none"
    assert evidence["attempts"] == []
