"""docs/models.md: its configurations are valid, and its table of refusals is the program's."""

from __future__ import annotations

import json
import re
from pathlib import Path

from agency.agent.programs.work import WorkConfig
from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.refusals import REASONS

PAGE = (Path(__file__).resolve().parents[4] / "docs/models.md").read_text()


def test_the_configurations_are_valid():
    proxy, work = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    config = ProxyConfig.model_validate_json(proxy)
    assert WorkConfig.model_validate_json(work).model.socket == config.socket
    assert json.loads(proxy)["accounts"]["pm"]["models"] == list(config.models)


def test_every_reason_of_a_refusal_is_told():
    rows = re.findall(r"^\| [\d, ]+ \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert sorted(re.findall(r"`([a-z]+)`", " ".join(rows))) == sorted(REASONS)
