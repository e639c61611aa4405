"""The agent's browser as a unit: no port, its own sandbox, a desktop only where there is one."""

from __future__ import annotations

import json
from typing import Any

UNIT = "agency-agent-browser@"


def test_it_starts_a_program_that_is_written_and_opens_no_port(report: dict[str, Any]) -> None:
    assert report["agency"]["units"][UNIT] == ["workspace", "browser", "%i"]
    text = report["agency"]["unitTexts"][f"{UNIT}.service"]
    assert "SocketBindDeny=any" in text
    assert "remote-debugging-port" not in json.dumps(report["agency"]["texts"])
    assert "RestartPreventExitStatus" not in text
    assert "Restart=always" in text
    assert "chromium" in text, "it is on its path"


def test_a_desktop_is_required_only_by_the_browser_that_has_one(report: dict[str, Any]) -> None:
    texts = report["agency"]["unitTexts"]
    assert "Requires=agency-agent-desktop" not in texts[f"{UNIT}.service"]
    assert "agency-agent-desktop@%i.service" in texts[f"{UNIT}.service"], "it comes after one"
    assert "Requires=agency-agent-desktop@pm.service" in texts[f"{UNIT}pm.service"]
    headless = report["headlessBrowser"]
    assert headless["failing"] == []
    assert "agency-agent-desktop" not in headless["unit"]
    assert json.loads(headless["settings"])["browser"]["display"] is None
    assert (
        json.loads(headless["settings"])["browser"]["socket"] == "/run/agency-browser/pm/cdp.sock"
    )


def test_its_memory_is_bounded_and_a_page_does_not_end_it(report: dict[str, Any]) -> None:
    texts = report["agency"]["unitTexts"]
    assert "MemoryMax=768M" in texts[f"{UNIT}pm.service"]
    assert "OOMPolicy=continue" in texts[f"{UNIT}.service"]


def test_its_sandbox_may_do_what_it_needs(report: dict[str, Any]) -> None:
    text = report["agency"]["unitTexts"][f"{UNIT}.service"]
    for each in ("RestrictNamespaces=user pid net", "SystemCallFilter=chroot", "ProcSubset=all"):
        assert each in text


def test_a_task_loop_without_a_command_waits_for_the_agents_program(
    report: dict[str, Any],
) -> None:
    texts = report["agency"]["unitTexts"]
    handed = "/run/agency-control/beside/pm/work.json"
    assert f"ConditionPathExists={handed}" in texts["agency-agent-task-loop@pm.service"]
    assert "LoadCredential=work.json:" in texts["agency-agent-task-loop@.service"]
    assert "work.json" not in report["headlessBrowser"]["loop"], "it has a command of its own"
