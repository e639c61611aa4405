"""The browser of `make test-agents`: its version is nixpkgs', its parts belong together."""

from __future__ import annotations

import agent_browser
import pytest
from agent_browser import PACKAGES


def test_the_server_and_its_library_are_of_one_release():
    versions = {each.name: each.version for each in PACKAGES}
    assert versions["playwright"] == versions["playwright-core"]
    assert all(each.sha512.endswith("==") and len(each.sha512) == 88 for each in PACKAGES)


def test_without_a_browser_it_says_which(monkeypatch, capsys):
    monkeypatch.setattr(agent_browser, "link", lambda packages: None)
    monkeypatch.setattr(agent_browser, "find_browser", lambda: None)
    monkeypatch.setattr(agent_browser, "codename", lambda: None)
    with pytest.raises(SystemExit) as ended:
        agent_browser.main()
    assert ended.value.code == 3
    assert "chromium-headless-shell" in capsys.readouterr().out


def test_one_that_is_there_is_enough(monkeypatch):
    linked = []
    monkeypatch.setattr(agent_browser, "link", linked.append)
    monkeypatch.setattr(agent_browser, "find_browser", lambda: "/usr/bin/chromium")
    monkeypatch.setattr(agent_browser, "install", lambda *_: pytest.fail("nothing to install"))
    agent_browser.main()
    assert linked == [PACKAGES]
