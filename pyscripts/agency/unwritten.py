"""The single list of programs that units already call and that are not written yet.

NixOS refuses a feature that needs one of them; it reads the list from `modules/unwritten.json`
(`tools/facts.py` writes it). `preview` of the instance allows a feature. The change that adds a
program removes its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_AGENT = "agency.agents.<name>"


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A command to be written: its words after `agency`, its arguments and flags.

    `feature` is the feature's name in `preview`, `option` the NixOS option that turns it on.
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
    _of_agent("mail", "mail serve", "Serve the agent's mail account."),
    _of_agent("passwords", "passwords serve", "Serve the agent's passwords."),
    _of_agent("tailnet", "tailnet", "Connect the agent to its tailnet."),
    _of_agent("ssh", "ssh-agent", "Hold the agent's SSH key."),
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
    """Return the list for Nix: for each feature its option and its unwritten commands."""
    return {
        feature: {
            "option": next(e.option for e in UNWRITTEN if e.feature == feature),
            "commands": [list(e.words) for e in UNWRITTEN if e.feature == feature],
        }
        for feature in FEATURES
    }
