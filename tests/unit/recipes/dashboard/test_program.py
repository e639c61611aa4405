"""`agency recipes dashboard` as its unit starts it: configuration, port, record, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests
from recipe_history import configuration, free_port, history


def start(config: Path, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "agency", "recipes", "dashboard", "--config", str(config), *more]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def _passed(state: Path) -> str:
    async with history(state) as past:
        return (await past.passed()).id


def test_the_program_serves_what_its_configuration_says(tmp_path: Path) -> None:
    run = asyncio.run(_passed(tmp_path))
    with free_port() as port:
        config = tmp_path / "recipes.json"
        written = configuration(tmp_path, port, "wiki").model_dump_json(by_alias=True)
        config.write_text(written)
        url = f"http://127.0.0.1:{port}"
        with start(config, "--retention-days", "3650") as process:
            try:
                for _ in range(300):
                    assert process.poll() is None, process.communicate()
                    try:
                        assert requests.get(f"{url}/health", timeout=5).json()["healthy"]
                        break
                    except requests.ConnectionError:
                        time.sleep(0.1)
                page = requests.get(f"{url}/runs/{run}", timeout=5)
                assert "shown for 3650 days" in page.text
                second = start(config)
                _, said = second.communicate(timeout=60)
                assert second.returncode == 3, said
                assert f"127.0.0.1:{port}" in said, "the port is taken"
            finally:
                process.send_signal(signal.SIGTERM)
                _, said = process.communicate(timeout=30)
        assert process.returncode == 0
        assert [json.loads(line)["message"] for line in said.splitlines()] == [
            "listening", "stopping",
        ]  # fmt: skip


def test_without_a_configuration_it_says_what_makes_it(tmp_path: Path) -> None:
    with start(tmp_path / "none.json") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "services.ci.enable" in said
    assert os.fspath(tmp_path) in said
