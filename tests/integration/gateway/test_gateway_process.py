"""`agency agent gateway` as a real process, with real MCP servers, a real client, and faults."""

import asyncio
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from gatewaying import ALICE, Running, allow, document, reached, server, told

from agency.protocols import (
    GatewayLostError,
    GatewayRefusedError,
    GatewayUnreachableError,
    ToolCall,
)

ECHO = {"echo": allow("web/echo")}


def made(place: Path) -> list[list[object]]:
    calls = place / "calls"
    return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


def reason(status, name: str = "web") -> str:
    return next(each.reason for each in status.servers if each.name == name)


def health(status) -> dict[str, str]:
    return {each.name: each.health for each in status.servers}


def open_to_all(place: Path) -> None:
    """Make the sockets as if their mode did not keep others out."""
    place.chmod(0o755)
    for name in ("mcp.sock", "control.sock"):
        (place / name).chmod(0o666)


async def pending(gateway: Running):
    async with asyncio.timeout(10), gateway.control() as client:
        while not (found := (await client.approvals()).approvals):  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.02)
    return found[0]


async def test_a_program_gets_what_its_policy_allows(gateway: Running, place: Path) -> None:
    rules = {**ECHO, "erase": allow("web/erase", "deny"), "fetch": allow("web/fetch", "ask")}
    await gateway.give(document({"web": server("good", place / "web")}, rules))
    async with gateway.program() as program:
        listed = (await program.list_tools()).tools
        assert [each.name for each in listed] == ["web__echo", "web__fetch"]
        assert listed[0].description == "Say it again."
        good = await program.call_tool("web__echo", {"text": "hi"})
        assert not good.isError
        assert "\nhi\n<<<end " in told(good)
        assert good.meta == {"agency/untrusted": True}
        for name, args, why in (
            ("web__erase", {"text": "x"}, "refused (rule erase)"),
            ("web__nothing", {}, "no rule allows it"),
            ("web/echo", {"text": "x"}, "policy"),
            ("Web__echo", {"text": "x"}, "no name of a tool"),
            ("web__echo", {"text": 7}, "type at /text"),
        ):
            bad = await program.call_tool(name, args)
            assert bad.isError
            assert why in told(bad)
    assert made(place / "web") == [["echo", {"text": "hi"}]]
    assert gateway.stop() == 0


async def test_a_program_that_asks_early_gets_the_tools_of_a_server_that_begins(
    gateway: Running, place: Path
) -> None:
    servers = {"web": server("late", place / "web"), "files": server("good", place / "files")}
    rules = {**ECHO, "files": allow("files/echo")}
    await gateway.give(document(servers, rules), ready=False)
    async with gateway.program() as program:
        listing = asyncio.create_task(program.list_tools())
        seen = await gateway.until(lambda status: "ok" in health(status).values())
        assert health(seen) == {"files": "ok", "web": "starting"}
        assert not listing.done()
        (place / "web" / "go").touch()
        assert [each.name for each in (await listing).tools] == ["files__echo", "web__echo"]
    assert gateway.stop() == 0


async def test_only_who_has_the_right_token_is_answered(gateway: Running, place: Path) -> None:
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    for token, status in (
        (gateway.token, 200),
        (gateway.control_token, 401),
        ("x" * 32, 401),
    ):
        async with gateway.http(token) as http:
            said = await http.post("http://gateway/mcp", json=hello, headers=accept)
        assert said.status_code == status
    async with gateway.http() as http:
        assert (await http.get("http://gateway/mcp")).status_code == 405
        assert (await http.post("http://gateway/v1/policy", json={})).status_code == 404
        large = await http.post("http://gateway/mcp", content=b"x" * 600_000, headers=accept)
        assert large.status_code == 413
    # The program's token neither decides nor sets the policy.
    async with gateway.control(gateway.token) as client:
        with pytest.raises(GatewayRefusedError) as caught:
            await client.set_policy(document({}, {}))
        assert caught.value.status == 401
    for name in ("mcp.sock", "control.sock"):
        assert stat.S_IMODE((place / name).stat().st_mode) & 0o007 == 0


async def test_another_user_gets_no_answer_from_the_control(gateway: Running, place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    open_to_all(place)
    ask = (
        "import http.client,socket,sys;"
        "c=http.client.HTTPConnection('x');"
        "c.sock=socket.socket(socket.AF_UNIX);c.sock.connect(sys.argv[1]);"
        "c.request('GET','/v1/status',headers={'Authorization':'Bearer '+sys.stdin.read()});"
        "print(c.getresponse().status)"
    )

    def status(uid: int) -> str:
        argv = ["python3", "-c", ask, str(place / "control.sock")]
        done = subprocess.run(
            argv, input=gateway.control_token, capture_output=True, text=True, user=uid
        )
        return done.stdout.strip()

    assert (await asyncio.to_thread(status, 0), await asyncio.to_thread(status, 65534)) == (
        "200",
        "401",
    )


async def test_an_asked_call_is_made_after_an_approver_says_so(
    gateway: Running, place: Path
) -> None:
    rules = {"echo": allow("web/echo", "ask")}
    await gateway.give(document({"web": server("good", place / "web")}, rules))
    async with gateway.program() as program:
        task = asyncio.create_task(program.call_tool("web__echo", {"text": "hi"}))
        asked = await pending(gateway)
        assert (asked.tool, asked.shown, asked.rule) == ("web/echo", '{"text": "hi"}', "echo")
        for digest, by, status in (
            (asked.digest, "@mallory:agency.example", 403),
            ("0" * 64, ALICE, 409),
        ):
            with pytest.raises(GatewayRefusedError) as caught:
                await gateway.decide(asked.id, "approve", digest, by)
            assert caught.value.status == status
        assert made(place / "web") == []
        await gateway.decide(asked.id, "approve", asked.digest)
        assert "\nhi\n" in told(await task)
        with pytest.raises(GatewayRefusedError):
            await gateway.decide(asked.id, "approve", asked.digest)
        second = asyncio.create_task(program.call_tool("web__echo", {"text": "ho"}))
        asked = await pending(gateway)
        await gateway.decide(asked.id, "deny", asked.digest)
        assert "a person denied this call" in told(await second)
    assert made(place / "web") == [["echo", {"text": "hi"}]]


async def test_an_approval_survives_a_kill_of_the_gateway(gateway: Running, place: Path) -> None:
    rules = {"echo": allow("web/echo", "ask")}
    await gateway.give(document({"web": server("good", place / "web")}, rules))
    async with gateway.control() as client:
        for text in ("a", "b"):
            with pytest.raises(GatewayRefusedError, match="decide first"):
                await client.call(ToolCall(tool="web/echo", arguments={"text": text}), None)
        first, second = (await client.approvals()).approvals
    await gateway.decide(first.id, "approve", first.digest)
    gateway.kill()
    await gateway.start()
    await gateway.until(lambda s: s.servers and s.servers[0].health == "ok")
    async with gateway.control() as client:
        assert [each.id for each in (await client.approvals()).approvals] == [second.id]
    async with gateway.program() as program:
        assert "\na\n" in told(await program.call_tool("web__echo", {"text": "a"}))
    assert made(place / "web") == [["echo", {"text": "a"}]]


async def test_a_kill_in_the_middle_of_a_call_is_told_and_not_repeated(
    gateway: Running, place: Path
) -> None:
    await gateway.give(document({"web": server("good", place / "web")}, ECHO))
    wait = ToolCall(tool="web/echo", arguments={"text": "wait"})
    async with gateway.control() as client:
        task = asyncio.create_task(client.call(wait, None))
        await reached((place / "web" / "waiting").exists)
        gateway.kill()
        with pytest.raises(GatewayLostError):
            await task
        with pytest.raises(GatewayUnreachableError) as caught:
            await client.call(wait, None)
        assert not isinstance(caught.value, GatewayLostError)  # it was not sent
    (place / "web" / "go").touch()
    await gateway.start()
    await gateway.until(lambda s: s.servers and s.servers[0].health == "ok")
    assert "was in flight" in gateway.log.read_text()
    async with gateway.program() as program:
        doubt = await program.call_tool("web__echo", {"text": "wait"})
        assert doubt.isError
        assert "outcome-unknown" in told(doubt)
        assert len(made(place / "web")) == 1
        again = await program.call_tool("web__echo", {"text": "wait"})
        assert not again.isError
    assert len(made(place / "web")) == 2


async def test_a_policy_is_exchanged_without_losing_the_call_at_hand(
    gateway: Running, place: Path
) -> None:
    servers = {"web": server("good", place / "web")}
    await gateway.give(document(servers, ECHO))
    async with gateway.program() as program:
        task = asyncio.create_task(program.call_tool("web__echo", {"text": "wait"}))
        await reached((place / "web" / "waiting").exists)
        # Its rule is gone, and its server is another one.
        moved = {"web": server("good", place / "other")}
        await gateway.give(document(moved, {"echo": allow("web/echo", "deny")}), ready=False)
        refused = await program.call_tool("web__echo", {"text": "new"})
        assert "refused (rule echo)" in told(refused)
        (place / "web" / "go").touch()
        assert "\nwait\n" in told(await task)
    await gateway.until(lambda s: s.servers[0].health == "ok")


async def test_a_policy_that_cannot_be_read_means_no_calls(gateway: Running, place: Path) -> None:
    good = document({"web": server("good", place / "web")}, ECHO)
    await gateway.give(good)
    for bad in (b"{", good.replace(b'"pm"', b'"dev"'), good.replace(b"gosuto/v1", b"gosuto/v9")):
        async with gateway.control() as client:
            with pytest.raises(GatewayRefusedError) as caught:
                await client.set_policy(bad)
            assert (caught.value.status, caught.value.problem.code) == (422, "config-refused")
            status = await client.status()
            assert (status.health, status.policy_sha256) == ("failing", None)
        async with gateway.program() as program:
            assert (await program.list_tools()).tools == []
            assert "no policy" in told(await program.call_tool("web__echo", {"text": "x"}))
    gateway.kill()
    await gateway.start()  # nor does the one before the bad one come back
    assert (await gateway.answering()).policy_sha256 is None
    await gateway.give(good)
    gateway.kill()
    kept = place / "state" / "policy.json"
    kept.write_bytes(kept.read_bytes()[:-5])
    await gateway.start()
    status = await gateway.answering()
    assert status.health == "failing"
    assert "no call is made" in status.reason


async def test_the_control_plane_calls_through_the_same_policy(
    gateway: Running, place: Path
) -> None:
    await gateway.give(document({"web": server("good", place / "web")}, ECHO))
    async with gateway.control() as client:
        done = await client.call(ToolCall(tool="web/echo", arguments={"text": "hi"}), "t-1")
        assert "\nhi\n" in done.content
        with pytest.raises(GatewayRefusedError) as caught:
            await client.call(ToolCall(tool="web/erase", arguments={"text": "hi"}), "t-1")
        assert (caught.value.status, caught.value.problem.code) == (403, "policy")


async def test_servers_and_their_acceptance_from_the_command_line(
    gateway: Running, place: Path
) -> None:
    await gateway.give(document({"web": server("good", place / "web")}, ECHO))

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(gateway.argv(*words), env=gateway.env, capture_output=True, text=True)

    listed = await asyncio.to_thread(run, "servers", "--json")
    (web,) = json.loads(listed.stdout)["servers"]
    assert (web["name"], web["health"], web["tools"]) == ("web", "ok", 3)
    wrong = await asyncio.to_thread(run, "accept", "web", "0" * 64, "--json")
    assert (wrong.returncode, "offers tools of this digest" in wrong.stderr) == (1, True)
    usage = await asyncio.to_thread(run, "accept", "web", "latest")
    assert usage.returncode == 2
    (place / "web" / "description").write_text("Changed")
    gateway.kill()
    await gateway.start()
    status = await gateway.until(lambda s: s.servers and s.servers[0].cut_off)
    done = await asyncio.to_thread(run, "accept", "web", status.servers[0].list_sha256)
    assert done.returncode == 0, done.stderr
    assert not (await gateway.answering()).servers[0].cut_off
    gateway.kill()
    away = await asyncio.to_thread(run, "servers")
    assert (away.returncode, "is not there" in away.stderr) == (3, True)


@pytest.mark.parametrize(
    ("change", "why", "status"),
    [
        ({"host": "0.0.0.0", "socket": None, "port": 8123}, "not a loopback address", 1),
        ({"agent": "../x"}, "not the name of an agent", 1),
        ({"port": 8123}, "exactly one of socket and port", 1),
        ({"extra": 1}, "extra", 1),
    ],
)
def test_a_wrong_configuration_is_refused(place: Path, change, why: str, status: int) -> None:
    gateway = Running(place)
    gateway.config.write_text(json.dumps({**gateway.facts(), **change}))
    done = subprocess.run(gateway.argv(), env=gateway.env, capture_output=True, text=True)
    assert (done.returncode, why in done.stderr) == (status, True), done.stderr


def test_without_its_tokens_it_does_not_start(place: Path) -> None:
    gateway = Running(place)
    (place / "credentials" / "gateway-control-token").unlink()
    done = subprocess.run(gateway.argv(), env=gateway.env, capture_output=True, text=True)
    assert (done.returncode, "gateway-control-token" in done.stderr) == (3, True)


@pytest.mark.parametrize("which", ["socket", "control_socket"])
def test_a_place_that_it_cannot_listen_at_is_told(place: Path, which: str) -> None:
    gateway = Running(place)
    facts = {**gateway.facts(), which: str(place / "missing" / "socket")}
    gateway.config.write_text(json.dumps(facts))
    done = subprocess.run(gateway.argv(), env=gateway.env, capture_output=True, text=True)
    assert (done.returncode, "cannot listen" in done.stderr) == (3, True), done.stderr
