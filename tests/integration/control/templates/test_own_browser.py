"""The agent's own browser behind its gateway: what a task leaves there, the next one finds.

Everything is real but the model: Synapse, control plane, gateway, proxy, Playwright's MCP server,
and a Chromium that outlives both the task and the tool server.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Browser, browser
from scripted_model import Turn
from templating import Site, Staff, call

from working import within

pytestmark = [pytest.mark.templates, pytest.mark.thorough, pytest.mark.timeout(300)]

NAVIGATE, SNAPSHOT = "browser__browser_navigate", "browser__browser_snapshot"
CLICK = "browser__browser_click"
REMEMBERING = """
<title>Memory</title><p id=said></p><a download=note.txt href="data:text/plain,kept">Save</a>
<script>
const visits = localStorage.length;
said.textContent = "visits before: " + visits;
localStorage["visit-" + visits] = "yes";
</script>
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("own")) as made:
        made.up()
        yield made


def with_own(own: Browser) -> dict[str, object]:
    words = ("workspace", "serve", "browser", "pm", "--settings", str(own.settings))
    return {"browser": {"command": [sys.executable, "-m", "agency", *words]}}


def looks(staff: Staff, page: Site) -> str:
    staff.does("Look.", call(NAVIGATE, url=f"{page.url}/"), call(SNAPSHOT), Turn("Looked."))
    return staff.results()[-1]


def test_the_agents_own_browser_remembers_through_tasks_servers_and_kills(
    staff: Staff, page: Site, own: Browser
) -> None:
    page.page = REMEMBERING
    staff.become("browser-agent", with_own(own), site=f"{page.url}/")
    staff.push()
    assert "visits before: 0" in looks(staff, page)
    assert "visits before: 1" in looks(staff, page)
    # The tool server is killed: the gateway starts another, and the browser is the same.
    pid, killed = own.pid, servers_of(own)
    for each in killed:
        os.kill(each, signal.SIGKILL)
    within(lambda: (now := servers_of(own)) and now.isdisjoint(killed), staff.logs)
    staff.wait_for_tools()
    assert "visits before: 2" in looks(staff, page)
    assert own.pid == pid
    # Chromium is killed: it is started again, and the same tool server finds it. Playwright says
    # at the first call that its browser is gone, and connects anew for the second.
    within(lambda: is_written(own), own.log, 40)
    server = servers_of(own)
    os.kill(pid, signal.SIGKILL)
    assert own.up(times=2) != pid
    looks(staff, page)
    seen = re.search(r"visits before: ([0-9]+)", looks(staff, page))
    assert seen is not None
    assert int(seen[1]) >= 1, "what was on disk is there; Chromium writes once a minute"
    assert servers_of(own) == server


def test_what_the_agents_own_browser_saves_is_in_its_workspace(
    staff: Staff, page: Site, own: Browser
) -> None:
    page.page = REMEMBERING
    staff.become("browser-agent", with_own(own), site=f"{page.url}/")
    staff.push()
    staff.does(
        "Save the note.",
        call(NAVIGATE, url=f"{page.url}/"),
        call(CLICK, element="Save", target="a"),
        call(SNAPSHOT),
        Turn("Saved."),
        approve=1,
    )
    file = own.downloads / "note.txt"
    within(lambda: file.exists() and file.read_text() == "kept", staff.logs)


def servers_of(own: Browser) -> set[int]:
    """The tool servers that drive it."""
    sign, found = f"--cdp-endpoint=ws+unix://{own.socket}", set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.startswith(sign) for word in words):
            found.add(int(entry.parent.name))
    return found


def is_written(own: Browser) -> bool:
    """Return whether the first visit is on disk."""
    files = own.profile.rglob("Local Storage/leveldb/*.log")
    return any(b"visit-0" in each.read_bytes() for each in files)
