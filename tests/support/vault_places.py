"""Values given to a running control plane, and every place where one of them would be a leak."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import requests
from entering import argv_of, socket_of

CANARY = "canary-7d20f1-of-the-vault"


def by_stdin(control: Any, *words: str, value: str = CANARY) -> dict[str, Any]:
    """Give a command with a value on standard input."""
    done = subprocess.run(
        [*argv_of(socket_of(control), *words), "--value-stdin"],
        input=f"{value}\n".encode(),
        capture_output=True,
        check=False,
    )
    assert value.encode() not in done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout or done.stderr)
    return answer


def places(control: Any) -> dict[str, bytes]:
    """Everything that the control plane writes or shows, by its place."""
    files = [path for path in control.place.rglob("*") if path.is_file()]
    assert {"control.db", "control.log"} <= {path.name for path in files}
    numbers = requests.get(f"{control.url}/metrics", timeout=10).content
    audit = json.dumps(control.audit()).encode()
    return {
        "metrics": numbers,
        "audit": audit,
        "ready": control.ready().content,
        **{str(path): path.read_bytes() for path in files},
    }


def leaks(control: Any, *canaries: str) -> list[str]:
    return [
        place
        for place, data in places(control).items()
        for canary in canaries
        if canary.encode() in data
    ]
