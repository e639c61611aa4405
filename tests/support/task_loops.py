"""The task loop of an agent that runs: its settings, its workspace, and both of its programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMITS = {"maxTasks": 5, "maxWallTime": 120, "maxErrors": 3}


@dataclass
class TaskLoop:
    """The task loop beside the agent pm, whose directory is `agent`."""

    agent: Path
    place: Path

    def __post_init__(self) -> None:
        self.space.mkdir(parents=True)
        (self.space / "TASKS.yaml").write_text("tasks: []\n")
        (self.space / "SCHEDULES.yaml").write_text("schedules: []\n")
        told = {"name": "pm", "role": "pm", "home": str(self.place / "home"), "taskLoop": LIMITS}
        self.settings.mkdir()
        (self.settings / "pm.json").write_text(json.dumps(told))

    @property
    def settings(self) -> Path:
        return self.place / "settings"

    @property
    def space(self) -> Path:
        return self.place / "home" / "agent-space"

    def tasks(self) -> str:
        return (self.space / "TASKS.yaml").read_text()

    def wish(self, name: str, description: str) -> None:
        """Take a task, as it is collected from an issue."""
        number = name.rpartition("-")[2]
        wish = {
            "name": name,
            "description": description,
            "source": f"https://git.agency.example/team/app/issues/{number}",
            "source_ref": f"issue:team/app#{number}",
        }
        file = self.place / "wishes.json"
        file.write_text(json.dumps({"wishes": [wish]}))
        taken = run("schedule", "pm", f"--settings={self.settings}", f"--wishes={file}")
        assert taken["added"] == [name], taken

    def run(self, expected: int = 0) -> Any:
        """Run the loop once; return its report."""
        rooms = self.agent / "rooms"
        return run(
            *("task-loop", "pm", f"--settings={self.settings}"),
            f"--program={rooms / 'work.json'}",
            expected=expected,
            credentials=rooms / "credentials",
        )


def run(*words: str, expected: int = 0, credentials: Path | None = None) -> Any:
    """Run a command of `agency workspace`; return what it prints."""
    environment = {name: each for name, each in os.environ.items() if name in {"PATH", "LANG"}}
    if credentials is not None:
        environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    done = subprocess.run(
        [sys.executable, "-m", "agency", "workspace", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == expected, done.stderr + done.stdout
    return json.loads(done.stdout)
