"""Pipeline files for the engines of others: one step, no checkout, no secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from agency.recipes.engine.remote.base import RUN
from agency.recipes.engine.remote.gitea import WORKFLOW, title_of

# By the variable, in quotes: neither the engine nor the shell interprets what it holds.
STEP = f'agency recipes run -- "${RUN}"'
LABEL = "agency-recipes"  # of the runner on this machine
FILES = {
    "drone": ".drone.yml",
    "woodpecker": ".woodpecker.yaml",
    "gitea-actions": f".gitea/workflows/{WORKFLOW}",
}


def pipeline(engine: str, at_a_time: int, minutes: int) -> str:
    """Write the pipeline file of an engine, whose name is a key of FILES."""
    made: Mapping[str, Mapping[str, object]] = {
        "drone": {
            "kind": "pipeline",
            "type": "exec",
            "name": "recipe",
            "clone": {"disable": True},
            "trigger": {"event": ["custom"]},
            "concurrency": {"limit": at_a_time},
            "steps": [{"name": "run", "commands": [STEP]}],
        },
        "woodpecker": {
            "when": [{"event": "manual"}],
            "skip_clone": True,
            "steps": [{"name": "run", "image": "bash", "commands": [STEP]}],
        },
        "gitea-actions": {
            "name": "recipe",
            "run-name": title_of("${{ inputs.run }}", "${{ inputs.attempt }}"),
            "on": {
                "workflow_dispatch": {
                    "inputs": {
                        "run": {"required": True, "type": "string"},
                        "attempt": {"required": True, "type": "string"},
                    }
                }
            },
            "jobs": {
                "run": {
                    "runs-on": LABEL,
                    "timeout-minutes": minutes + 10,  # the runner's own limit comes before
                    "env": {RUN: "${{ inputs.run }}"},
                    "steps": [{"run": STEP}],
                }
            },
        },
    }
    return yaml.safe_dump(dict(made[engine]), sort_keys=False)
