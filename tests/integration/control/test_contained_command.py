"""A command-line agent in containers of a real engine: what its own shell can, and cannot.

Everything is real but the model and, without the marker `agents`, the agent: tests/support has a
small one that runs what its model asks for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_model import Turn
from working_contained import ContainedAgency, working_agency

from agency.agent.models.conversation import ToolCall
from working import PROVIDER_KEY, within

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = ROOT / "tests/support/coding_agent.py"
OPENCODE = ROOT / ".tools/agents/opencode/bin/opencode"
ECHOES = "agency_web__echo"
WORKSPACE = "/var/lib/agency/workspace"
# What it tries in its shell, and how it would look if it came through.
TRIES = """
for each in {tcp}; do
  /opt/agency/bin/python3 -I -c "import socket, sys
host, _, port = sys.argv[1].rpartition(':')
socket.create_connection((host, int(port)), 2)
print('REACHED', sys.argv[1])" "$each" 2>&1 | tail -1
done
for each in {files}; do cat "$each" 2>&1; done
find /run -name '*token*' 2>/dev/null
find / -type s 2>/dev/null
for each in /proc/[0-9]*; do tr '\\0' ' ' < $each/cmdline; echo; done
id -u; ls /sys/class/net
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("stand-in", marks=pytest.mark.docker),
        pytest.param("opencode", marks=pytest.mark.agents),
    ],
)
def agency(
    homeserver: Any,
    make_shared_control: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> Iterator[ContainedAgency]:
    """An agency whose agent pm is a command-line agent, confined.

    A run has one of them, by its marker: they would share the people of a homeserver.
    """
    containers = request.getfixturevalue("containers")
    with tempfile.TemporaryDirectory(prefix="own-program-") as made:
        program = OPENCODE
        if request.param == "opencode" and not program.is_file():
            pytest.skip("opencode is not fetched: `make test-agents-own` does it")
        if request.param != "opencode":
            program = Path(made, "bin", "agent")
            program.parent.mkdir()
            Path(made).chmod(0o755)
            shutil.copy(STAND_IN, program)
        settings = {
            "kind": "command",
            "agent": "opencode",
            "run": [str(program)],
            "own_tools": "confined",
        }
        with working_agency(homeserver, make_shared_control, containers, settings) as agency:
            assert isinstance(agency, ContainedAgency)
            yield agency


ONLY_STAND_IN = pytest.mark.parametrize(
    "agency", [pytest.param("stand-in", marks=pytest.mark.docker)], indirect=True
)


def use(tool: str, **arguments: str) -> Turn:
    return Turn(calls=(ToolCall("call-1", tool, json.dumps(arguments)),))


def shell(command: str) -> Turn:
    return use("bash", command=command, description="look")


def played(agency: ContainedAgency, *turns: Turn) -> list[str]:
    """Ask, have the model say this; return what it was told of each call."""
    agency.model.script[:] = [*turns, Turn("So be it.")]
    agency.model.asked.clear()
    event = agency.ask("Do it.")
    within(lambda: agency.said(event) == "So be it.", agency.logs, seconds=120)
    last = agency.model.asked[-1].body["messages"]
    return [json.dumps(each["content"]) for each in last if each["role"] == "tool"]


def test_it_uses_a_tool_of_the_gateway_and_answers(agency: ContainedAgency) -> None:
    before = len(agency.called())
    (told,) = played(agency, use(ECHOES, text="sunny"))
    assert "sunny" in told
    assert agency.called()[before:] == [["echo", {"text": "sunny"}]]
    first = agency.model.asked[0]
    assert first.headers["Authorization"] == f"Bearer {PROVIDER_KEY}"
    names = [row["event"] for row in agency.rows()]
    assert {"message.taken", "model.called", "tool.decided", "tool.ended"} <= set(names)


def test_confined_its_shell_works_in_the_workspace(agency: ContainedAgency) -> None:
    (told,) = played(agency, shell("pwd; echo built > made.txt; cat made.txt"))
    assert WORKSPACE in told
    assert "built" in told
    assert _is_there(agency, f"{WORKSPACE}/made.txt")


def test_confined_its_shell_reaches_gateway_and_proxy_and_nothing_else(
    agency: ContainedAgency,
) -> None:
    outside = [agency.homeserver.url, agency.control.config["models"]["url"], agency.model.url]
    tcp = [each.split("//")[1].rstrip("/") for each in outside] + ["192.0.2.1:443"]
    handed, mine = "/run/agency", ("127.0.0.1:2100", "127.0.0.1:2200")
    files = [
        *(f"{handed}/{name}" for name in ("matrix-token", "gateway-control-token", "acp-token")),
        *(f"/run/{name}" for name in ("agency-control/control.sock", "agency-policy/policy.json")),
        "/var/lib/agency/gateway/policy.json",
        *(str(path) for path in agency.token_files()),
        str(agency.place / "keys" / "key"),
        str(agency.place / "pm.yaml"),
    ]
    command = TRIES.format(tcp=" ".join([*tcp, *mine]), files=" ".join(files))
    (told,) = played(agency, shell(command))
    assert [each for each in mine if f"REACHED {each}" in told] == list(mine)
    assert not [each for each in tcp if f"REACHED {each}" in told]
    tokens = {path.name: path.read_text() for path in agency.token_files()}
    assert set(tokens) >= {"matrix-token", "gateway-control-token", "acp-token", "model-token"}
    assert not [name for name, token in tokens.items() if token in told]
    assert PROVIDER_KEY not in told
    assert told.count("No such file") == len(files)
    # Of sockets it sees its own alone; of tokens, the two that policy gives a worth.
    found = {line for line in told.replace("\\n", "\n").splitlines() if line.startswith("/run")}
    assert found == {
        "/run/agency-tasks/tasks.sock",
        f"{handed}/model-token",
        f"{handed}/gateway-token",
    }
    assert "gateway --json" not in told
    assert "chat --json" not in told
    assert "host --json" in told


@ONLY_STAND_IN
def test_its_tokens_decide_on_nothing_and_its_program_is_read_only(agency: ContainedAgency) -> None:
    (pm,) = (each for each in agency.control.config["agents"] if each["name"] == "pm")
    program = pm["program"]["run"][0]
    python, control = "/opt/agency/bin/python3 -I -c", ("v1/status", "v1/approvals")
    ask = (
        "import sys, urllib.request as r, urllib.error as e\n"
        "token = open('/run/agency/gateway-token').read()\n"
        "for path in sys.argv[1:]:\n"
        "    asked = r.Request('http://127.0.0.1:2200/' + path)\n"
        "    asked.add_header('Authorization', 'Bearer ' + token)\n"
        "    try: print(path, r.urlopen(asked, timeout=5).status)\n"
        "    except e.HTTPError as x: print(path, x.code)\n"
    )
    mounted = "import os, sys; print('read-only', bool(os.statvfs(sys.argv[1]).f_flag & 1))"
    places = (program, "/run/agency/x", "/opt/agency/x", "/etc/x")
    writes = "; ".join(f"echo x >> {each} && echo written" for each in places)
    script = f'{python} "{ask}" {" ".join(control)}; {python} "{mounted}" {program}; {writes}'
    (told,) = played(agency, shell(script))
    assert [path for path in control if f"{path} 404" in told] == list(control), told
    assert "read-only True" in told
    assert "written" not in told


@ONLY_STAND_IN
def test_what_it_leaves_running_ends_with_the_task(agency: ContainedAgency) -> None:
    sleeps = "setsid sh -c 'echo $$ > pid; exec sleep 600' >/dev/null 2>&1 &"
    played(agency, shell(f"({sleeps}); until [ -s pid ]; do sleep 0.1; done"))
    (told,) = played(agency, shell("kill -0 $(cat pid) 2>&1 || echo gone"))
    assert "gone" in told


@ONLY_STAND_IN
def test_killed_in_the_middle_it_says_so_and_comes_back(agency: ContainedAgency) -> None:
    before = agency.pids()
    assert set(before) == {"run", "gateway", "chat", "host"}
    agency.model.script[:] = [Turn("never said", fault="slow")]
    agency.model.asked.clear()
    event = agency.ask("Take your time.")
    within(lambda: agency.model.asked, agency.logs)
    agency.kill("host")
    within(lambda: agency.said(event).startswith("Not done: its host ended"), agency.logs)
    within(lambda: set(agency.pids()) == set(before), agency.logs)
    (told,) = played(agency, use(ECHOES, text="again"))
    assert "again" in told
    now = agency.pids()
    assert {name for name in before if now[name] != before[name]} == {"host"}


@ONLY_STAND_IN
def test_with_its_own_tools_off_it_has_no_shell(agency: ContainedAgency) -> None:
    _change(agency, own_tools="off")
    agency.start()
    (told,) = played(agency, shell(f"mkdir -p {WORKSPACE}; touch {WORKSPACE}/mark; echo done"))
    assert "done" not in told
    assert [each["function"]["name"] for each in agency.model.asked[0].body["tools"]] == [ECHOES]
    assert not _is_there(agency, f"{WORKSPACE}/mark")
    (told,) = played(agency, use(ECHOES, text="rain"))
    assert "rain" in told


@ONLY_STAND_IN
def test_in_an_image_without_a_shell_it_says_what_is_missing(agency: ContainedAgency) -> None:
    assert agency.engine is not None
    _change(agency, own_tools="confined")
    agency.control.stop()
    agency.control.config["docker"] = agency.engine.settings(memory_mib=256).model_dump()
    agency.control.start()
    assert "pm runs" in agency.order("!agency agents start pm")
    within(agency.listening, agency.logs)
    event = agency.ask("Do it.")
    within(lambda: "there is no /bin/sh here" in agency.said(event), agency.logs)


def _change(agency: ContainedAgency, **program: str) -> None:
    """Stop the agent, and give the control plane other settings of its program."""
    (pm,) = (each for each in agency.control.config["agents"] if each["name"] == "pm")
    assert "pm is stopped" in agency.order("!agency agents stop pm")
    assert agency.pids() == {}
    assert not agency.token_files()
    agency.control.stop()
    pm["program"] |= program
    agency.control.start()


def _is_there(agency: ContainedAgency, path: str) -> bool:
    made = agency.container(".command")
    assert made
    assert agency.engine is not None
    status, _ = agency.engine.inside(made, f"import os; os.stat({path!r})")
    return status == 0
