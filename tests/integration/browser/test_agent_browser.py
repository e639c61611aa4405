"""The agent's own browser with a real Chromium: it stays, its profile lasts, and it is its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browsing import Browser, Driver, browser, command, connect, drive, interpreter_for
from templating import Site, browser_is_here, site

from agency.children import stat_fields
from working import within

pytestmark = [pytest.mark.templates, pytest.mark.timeout(180)]


def needs_browser() -> None:
    if browser_is_here():
        return
    if os.environ.get("AGENCY_REQUIRE_TEMPLATES"):
        pytest.fail("the browser is not there: make test-agents-browser")
    pytest.skip("the browser is not there: make test-agents-browser gets it")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs_browser()
    with browser(tmp_path_factory.mktemp("kept")) as made:
        made.up()
        yield made


@pytest.fixture
def page() -> Iterator[Site]:
    with site() as made:
        yield made


def test_its_profile_is_there_after_an_end_in_good_order(tmp_path: Path, page: Site) -> None:
    needs_browser()

    async def sets(driver: Driver) -> str:
        tab = await driver.page()
        await driver.go(tab, page.url)
        await driver.run(tab, "localStorage.setItem('kept', 'yes')")
        await driver.run(tab, "document.cookie = 'seen=before; max-age=99999'")
        return str(await driver.run(tab, "document.cookie"))

    async def looks(driver: Driver) -> list[Any]:
        tab = await driver.page()
        await driver.go(tab, page.url)
        return [await driver.run(tab, each) for each in ("document.cookie", "localStorage.kept")]

    with browser(tmp_path) as made:
        made.up()
        assert drive(made.socket, looks) == ["", {"result": {"type": "undefined"}}]
        assert drive(made.socket, sets) == "seen=before"
    # As a killed one leaves it, in a container of another name.
    (made.profile / "SingletonLock").unlink(missing_ok=True)
    (made.profile / "SingletonLock").symlink_to("another-machine-4242")
    with browser(tmp_path) as made:
        made.up()
        assert drive(made.socket, looks) == ["seen=before", "yes"]
        assert (made.profile.stat().st_mode & 0o777, made.socket.stat().st_mode & 0o777) == (
            0o700,
            0o600,
        )


def test_killed_it_is_started_again_with_its_profile(tmp_path: Path, page: Site) -> None:
    needs_browser()

    async def sets(driver: Driver) -> None:
        tab = await driver.page()
        await driver.go(tab, page.url)
        await driver.run(tab, "localStorage.setItem('kept', 'through-a-kill')")

    async def looks(driver: Driver) -> Any:
        tab = await driver.page()
        await driver.go(tab, page.url)
        return await driver.run(tab, "localStorage.kept")

    with browser(tmp_path) as made:
        first = made.up()
        drive(made.socket, sets)

        def written() -> bool:
            return any(
                b"through-a-kill" in each.read_bytes()
                for each in made.profile.rglob("Local Storage/leveldb/*.log")
            )

        within(written, made.log, 40)
        os.kill(first, signal.SIGKILL)
        second = made.up(times=2)
        assert second != first
        assert drive(made.socket, looks) == "through-a-kill"
        assert "the browser ended, and is started again" in made.log()


@pytest.mark.thorough
def test_killed_itself_it_leaves_no_chromium_and_begins_again(tmp_path: Path) -> None:
    needs_browser()
    with browser(tmp_path) as made:
        made.up()
        made.process.kill()
        within(lambda: not made.processes(), made.log)
    with browser(tmp_path) as made:
        assert made.up()


def test_it_listens_on_no_port(kept: Browser) -> None:
    own = {f"socket:[{each}]" for each in _inodes(kept)}
    listening = [row for row in _listening() if row in own]
    assert own, "its descriptors can be looked at"
    assert listening == []
    with socket.create_server(("127.0.0.1", 0)):  # the look finds one where there is one
        assert any(row in {f"socket:[{each}]" for each in _of(os.getpid())} for row in _listening())


def _inodes(made: Browser) -> set[str]:
    return {inode for pid in made.processes() for inode in _of(pid)}


def _of(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(each.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found


def _listening() -> list[str]:
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [f"socket:[{row[9]}]" for row in rows if row[3] == "0A"]


@pytest.mark.thorough
def test_one_after_the_other_begins_as_with_a_new_browser(kept: Browser, page: Site) -> None:
    async def opens(driver: Driver) -> int:
        auto = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}
        await driver.call("Target.setAutoAttach", **auto)
        tab = await driver.page()
        await driver.go(tab, page.url)
        return sum(each["method"] == "Target.attachedToTarget" for each in driver.events)

    first = drive(kept.socket, opens)
    assert first >= 1
    assert drive(kept.socket, opens) > first, "the pages that the other left are told anew"


@pytest.mark.thorough
def test_one_at_a_time_drives_it(kept: Browser) -> None:
    async def both() -> int:
        session, driver = await connect(kept.socket)
        try:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connect(kept.socket)
            assert "result" in await driver.call("Browser.getVersion"), "the first goes on"
            return refused.value.status
        finally:
            await driver.ws.close()
            await session.close()

    assert asyncio.run(both()) == 409


@pytest.mark.parametrize(
    "method",
    ["Browser.close", "Browser.crash", "Target.createBrowserContext", "Extensions.loadUnpacked"],
)
def test_a_tool_server_neither_ends_it_nor_gets_round_its_profile(
    kept: Browser, method: str
) -> None:
    before = (kept.pid, kept.up())

    async def asks(driver: Driver) -> Any:
        answer = await driver.call(method)
        assert "result" in await driver.call("Browser.getVersion")
        return answer

    assert "is not for tool servers" in drive(kept.socket, asks)["error"]["message"]
    assert (kept.pid, kept.up()) == before


def test_nor_by_a_command_within_another(kept: Browser) -> None:
    before = (kept.pid, kept.up())

    async def asks(driver: Driver) -> Any:
        made = await driver.call("Target.createTarget", url="about:blank")
        answer = await driver.call("Target.attachToTarget", targetId=made["result"]["targetId"])
        session, inner = answer["result"]["sessionId"], '{"id":1,"method":"Browser.close"}'
        told = {"sessionId": session, "message": inner}
        await driver.ws.send_json(
            {"id": 99, "method": "Target.sendMessageToTarget", "params": told}
        )
        assert "result" in await driver.call("Browser.getVersion")
        return driver.events[-1]

    assert "is not for tool servers" in drive(kept.socket, asks)["error"]["message"]
    assert (kept.pid, kept.up()) == before


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.log('\\u0001'.repeat(12 << 20))", ""),
        ("'\\u0001'.repeat(12 << 20)", "too long"),
    ],
)
def test_a_page_that_says_too_much_ends_no_browser(kept: Browser, script: str, told: str) -> None:
    before = (kept.pid, kept.up())

    async def says(driver: Driver) -> Any:
        tab = await driver.page()
        await driver.call("Runtime.enable", tab)
        params = {"expression": script, "returnByValue": True}
        answer = await driver.call("Runtime.evaluate", tab, **params)
        assert await driver.run(tab, "6 * 7") == 42, "the page goes on"
        return answer

    answer = drive(kept.socket, says)
    assert told in answer.get("error", {}).get("message", "")
    assert ("error" in answer) == bool(told), str(answer)[:500]
    assert (kept.pid, kept.up()) == before


@pytest.mark.thorough
def test_what_is_downloaded_is_in_the_workspace(kept: Browser) -> None:
    async def saves(driver: Driver) -> None:
        tab = await driver.page()
        await driver.go(
            tab, "data:text/html,<a download=note.txt href='data:text/plain,kept'>x</a>"
        )
        await driver.run(tab, "document.querySelector('a').click()")

    drive(kept.socket, saves)
    file = kept.downloads / "note.txt"
    within(lambda: file.exists() and file.read_text() == "kept", kept.log)


@pytest.mark.thorough
def test_a_page_that_takes_too_much_memory_ends_alone(kept: Browser) -> None:
    before = (kept.pid, kept.up())
    eats = (
        "(() => { const all = []; try { for (;;) all.push(new Uint8Array(1 << 26).fill(1)); }"
        " catch (error) { return all.length; } })()"
    )

    async def grows(driver: Driver) -> Any:
        return await driver.run(await driver.page(), eats)

    parts = drive(kept.socket, grows)
    assert 1 <= parts <= 16, "64 MiB each, and 1 GiB is the most"
    assert (kept.pid, kept.up()) == before
    assert drive(kept.socket, lambda driver: driver.call("Browser.getVersion"))["result"]


def test_with_origins_it_asks_nothing_else(tmp_path: Path, page: Site) -> None:
    needs_browser()
    page.page = f'<img src="{page.other}/image"><iframe src="{page.other}/frame"></iframe>'

    async def looks(driver: Driver) -> list[Any]:
        tab = await driver.page()
        went = [await driver.go(tab, f"{page.url}/here")]
        went += [await driver.go(tab, f"{page.url}/away"), await driver.go(tab, page.other)]
        return [each["result"].get("errorText", "") for each in went]

    with browser(tmp_path, origins=[page.url]) as made:
        made.up()
        here, away, other = drive(made.socket, looks)
    assert (here, away, other) == (
        "",
        "net::ERR_PROXY_CONNECTION_FAILED",
        "net::ERR_PROXY_CONNECTION_FAILED",
    )
    assert page.seen[:1] == ["/here"]
    assert "/away" in page.seen
    assert page.reached == []


@pytest.mark.thorough
def test_its_extensions_are_those_of_the_settings(tmp_path: Path, page: Site) -> None:
    needs_browser()
    own = tmp_path / "extension"
    own.mkdir()
    (own / "manifest.json").write_text(
        '{"manifest_version": 3, "name": "Mark", "version": "1", "content_scripts": '
        '[{"matches": ["<all_urls>"], "js": ["mark.js"], "run_at": "document_end"}]}'
    )
    (own / "mark.js").write_text("document.title = 'marked';")

    async def title(driver: Driver) -> Any:
        tab = await driver.page()
        await driver.go(tab, page.url)
        return await driver.run(tab, "document.title")

    with browser(tmp_path, extensions=[str(own)]) as made:
        made.up()
        assert drive(made.socket, title) == "marked"


@pytest.mark.thorough
def test_without_it_the_title_is_the_pages(kept: Browser, page: Site) -> None:
    async def title(driver: Driver) -> Any:
        tab = await driver.page()
        await driver.go(tab, page.url)
        return await driver.run(tab, "document.title")

    assert drive(kept.socket, title) == "Report"


@pytest.mark.thorough
def test_two_of_one_agent_do_not_run(kept: Browser) -> None:
    words = ("workspace", "browser", "pm", "--settings", str(kept.settings))
    done = subprocess.run(
        **command(*words), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert "another process runs this agent's browser" in done.stderr
    assert drive(kept.socket, lambda driver: driver.call("Browser.getVersion"))["result"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_another_user_does_not_reach_it_and_pages_are_in_a_sandbox() -> None:
    needs_browser()
    if interpreter_for(AGENT_UID) is None:
        pytest.skip("the checkout or its Python is closed to other users: clone it below /srv")
    with tempfile.TemporaryDirectory(prefix="own-") as made:
        place = Path(made)
        place.chmod(0o755)
        with browser(place, uid=AGENT_UID) as own:
            pid = own.up()
            assert Path(f"/proc/{pid}").stat().st_uid == AGENT_UID
            assert knocks(own.socket, OTHER_UID) == "PermissionError"
            assert knocks(own.socket, AGENT_UID) == "101"
            # Also where the directories let everybody in, the other side's user counts.
            for each in (own.socket, *own.socket.parents):
                if each.is_relative_to(place):
                    each.chmod(0o777)
            assert knocks(own.socket, OTHER_UID) == "403"
            assert knocks(own.socket, 0) == "403"
            assert knocks(own.socket, AGENT_UID) == "101"
            # A browser answers before the process of its first page is there and confined itself.
            assert within(lambda: pages_are_confined(pid))
            assert not is_confined(pid)


def pages_are_confined(browser_pid: int) -> bool:
    """Return whether it has processes of pages, and each is confined; False while one ends."""
    try:
        arguments = {
            each: Path(f"/proc/{each}/cmdline").read_bytes() for each in descendants(browser_pid)
        }
        pages = [each for each, found in arguments.items() if b"--type=renderer" in found]
        return bool(pages) and all(is_confined(each) for each in pages)
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """Find a process's children, theirs, and so on: Chromium writes its titles over the signs."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int(stat_fields(int(entry.name))[1])
    found = {pid}
    while more := {each for each, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def is_confined(pid: int) -> bool:
    """Return whether a process has a filter of system calls and a network of its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    network = Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    return "Seccomp:\t2" in status and network


AGENT_UID, OTHER_UID = 4101, 4102
KNOCK = """
import socket, sys
made = socket.socket(socket.AF_UNIX)
try:
    made.connect(sys.argv[1])
except OSError as error:
    sys.exit(print(type(error).__name__))
lines = ("GET / HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
         "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "")
made.sendall("".join(line + chr(13) + chr(10) for line in lines[:-1]).encode())
status = made.recv(4096).split()[1].decode()
if status == "101":  # a page is opened, by one frame with an empty mask
    told = b'{"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}'
    made.sendall(bytes((0x81, 0x80 | len(told), 0, 0, 0, 0)) + told)
    assert b"targetId" in made.recv(4096)
print(status)
"""


def knocks(path: Path, uid: int) -> str:
    """Return the answer that a user gets at the socket: a status of HTTP, or the system's error."""
    python = interpreter_for(uid)
    assert python is not None
    done = subprocess.run(
        [python, "-c", KNOCK, str(path)],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() or done.stderr
