"""List of programs that units call already but that are not written yet.

Python (`agency init`, `agency check`) refuses a feature that needs one of them. So does NixOS, from
`modules/unwritten.json`, made by `tools/facts.py`. `preview` in the instance lets
a feature through. To add a program, remove its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_AGENT = "agency.agents.<name>"


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Command to come: its words after `agency`, and its arguments.

    `feature` is its name in `preview`, `option` the NixOS option that turns it on.
    """

    feature: str
    option: str
    words: tuple[str, ...]
    help: str
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def _of_agent(feature: str, words: str, help_: str) -> Unwritten:
    option = f"{_AGENT}.{feature}.enable"
    return Unwritten(feature, option, ("workspace", *words.split()), help_, ("agent",))


def _stage(stage: str, *arguments: str) -> Unwritten:
    option, words = "agency.gitlab-runner.enable", ("sandbox", f"job-{stage}")
    return Unwritten("gitlab-runner", option, words, f"The {stage} stage of a job.", arguments)


UNWRITTEN = (
    _of_agent("desktop", "desktop", "Run the agent's headless desktop."),
    _of_agent("browser", "browser", "Run the agent's browser."),
    _of_agent("mail", "mail serve", "Serve the agent its mail account."),
    _of_agent("passwords", "passwords serve", "Serve the agent its passwords."),
    _of_agent("tailnet", "tailnet", "Join the agent to its tailnet."),
    _of_agent("ssh", "ssh-agent", "Hold the agent's SSH key."),
    _of_agent("mcp", "mcp configure", "Write the MCP configuration."),
    _of_agent("taskLoop", "schedule", "Take new work into the task list."),
    _of_agent("taskLoop", "task-loop", "Work through the task list once."),
    _of_agent("codingAgent", "coding-agent serve", "Run tasks under the contract."),
    Unwritten(
        "incidents",
        "agency.incidents.enable",
        ("workspace", "incidents", "escalate"),
        "Tell operators of incidents.",
    ),
    Unwritten(
        "ci-builtin",
        "agency.ci.enable",
        ("recipes", "runner"),
        "Run what the bridge asked for.",
        flags=("--config",),
    ),
    Unwritten(
        "bridge",
        "agency.bridge.enable",
        ("recipes", "bridge"),
        "Take test requests from comments on the forge.",
        flags=("--config", "--poll-seconds"),
    ),
    Unwritten(
        "dashboard",
        "agency.dashboard.enable",
        ("recipes", "dashboard"),
        "Serve runs and their results as web pages.",
        flags=("--config", "--retention-days"),
    ),
    Unwritten(
        "sandbox",
        "agency.sandbox.enable",
        ("sandbox", "serve"),
        "Serve leases to the host's jobs.",
        flags=("--config",),
    ),
    _stage("config"),
    _stage("prepare"),
    _stage("run", "script", "stage"),
    _stage("cleanup"),
)

FEATURES = tuple(sorted({entry.feature for entry in UNWRITTEN}))


def facts() -> Mapping[str, object]:
    """Return the list for Nix: each feature's option, and the commands that are not written."""
    return {
        feature: {
            "option": next(e.option for e in UNWRITTEN if e.feature == feature),
            "commands": [list(e.words) for e in UNWRITTEN if e.feature == feature],
        }
        for feature in FEATURES
    }
