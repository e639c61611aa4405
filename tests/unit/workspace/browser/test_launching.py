"""How Chromium is started: pure decisions about arguments, places and environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from agency.errors import AgencyError, BadInputError, PrerequisiteError, UsageError
from agency.gosuto import as_yaml, load_template
from agency.workspace.browser.launching import (
    arguments_of,
    environment_of,
    find_browser,
    places_of,
)
from agency.workspace.config import AgentSettings, BrowserSettings, load_agent
from agency.workspace.servers.browsing import OPTIONS, become_server
from agency.workspace.servers.browsing import arguments_of as server_arguments

HOME = Path("/home/agent-pm")


def agent(**browser: object) -> AgentSettings:
    return AgentSettings.model_validate(
        {"name": "pm", "role": "pm", "home": str(HOME), "browser": browser}
    )


def arguments(**browser: object) -> list[str]:
    return arguments_of(BrowserSettings.model_validate(browser), HOME / "profile")


def test_no_port_is_ever_opened_and_the_sandbox_is_on() -> None:
    found = arguments()
    assert "--remote-debugging-pipe" in found
    assert not [each for each in found if "debugging-port" in each or each == "--no-sandbox"]
    assert "--no-sandbox" in arguments(sandbox=False)
    assert f"--user-data-dir={HOME}/profile" in found


def test_headless_unless_there_is_a_desktop() -> None:
    assert "--headless" in arguments()
    assert "--headless" not in arguments(display="/run/agency-desktop/pm/wayland-0")
    told = BrowserSettings(display=Path("/run/agency-desktop/pm/wayland-0"))
    environment = environment_of(told, HOME)
    assert environment["WAYLAND_DISPLAY"] == "/run/agency-desktop/pm/wayland-0"
    assert environment["XDG_RUNTIME_DIR"] == "/run/agency-desktop/pm"
    assert "WAYLAND_DISPLAY" not in environment_of(BrowserSettings(), HOME)


def test_all_but_the_origins_goes_to_no_proxy() -> None:
    past = "--proxy-bypass-list=<-loopback>;https://docs.example.org;https://b.example.org:8443"
    found = arguments(origins=["https://docs.example.org", "https://b.example.org:8443"])
    assert past in found
    assert "--proxy-server=http://127.0.0.1:9" in found
    assert not [each for each in arguments() if "proxy" in each]


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": ["https://a.example;<local>"]},
        {"origins": ["file:///etc"]},
        {"origins": ["https://a.example/path"]},
        {"extensions": ["/a,/b"]},
        {"extensions": ["relative"]},
        {"port": 9222},
    ],
)
def test_what_would_say_more_than_it_should_is_refused(
    wrong: dict[str, object], tmp_path: Path
) -> None:
    import json

    told = {"name": "pm", "role": "pm", "home": str(HOME), "browser": wrong}
    (tmp_path / "pm.json").write_text(json.dumps(told))
    with pytest.raises(BadInputError):
        load_agent("pm", tmp_path)
    told["browser"] = {}
    (tmp_path / "pm.json").write_text(json.dumps(told))
    assert load_agent("pm", tmp_path).browser == BrowserSettings()


def test_the_socket_is_the_agents_own_and_can_be_told() -> None:
    made = agent()
    assert made.browser is not None
    assert places_of(made, made.browser).socket.is_relative_to(HOME / ".local/state")
    own = agent(socket="/run/agency-browser/pm/cdp.sock")
    assert own.browser is not None
    places = places_of(own, own.browser)
    assert str(places.socket) == "/run/agency-browser/pm/cdp.sock"
    assert places.downloads == HOME / "agent-space/downloads"
    endpoint = "--cdp-endpoint=ws+unix:///run/agency-browser/pm/cdp.sock:/"
    assert endpoint in server_arguments(places)


@pytest.mark.parametrize("path", ["/run/a b.sock", "/run/a:b.sock", "/" + "x" * 107, "rel.sock"])
def test_a_socket_that_no_tool_server_can_be_told_is_refused(path: str) -> None:
    made = agent(socket=path)
    assert made.browser is not None
    with pytest.raises(UsageError):
        places_of(made, made.browser)


def test_without_a_chromium_it_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="no Chromium") as caught:
        find_browser()
    assert "chromium-headless-shell" in str(caught.value.hint)


def test_without_a_browser_that_runs_there_are_no_tools(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "playwright-mcp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    made = agent(socket=str(tmp_path / "cdp.sock"))
    assert made.browser is not None
    with pytest.raises(AgencyError, match="browser does not run"):
        become_server(places_of(made, made.browser), {})


def test_its_tools_are_served_as_those_of_the_template() -> None:
    """One server and one set of options, whoever starts the browser."""
    values = {"room": "!r:x", "operator": "@a:x", "site": "https://docs.example.org/"}
    document = yaml.safe_load(as_yaml(load_template("browser-agent").fill("pm", values)))
    command = document["mcpServers"]["browser"]["command"]
    assert command[0] == "playwright-mcp"
    assert set(OPTIONS) < set(command)
    assert "--proxy-server=http://127.0.0.1:9" in command
