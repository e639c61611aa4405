"""`.mcp.json`: the gateway and nothing secret, and what the agent wrote stays."""

import json
import os
import subprocess
import sys

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.workspace.mcp.configure import FILE, configure

URL = "http://127.0.0.1:21234/mcp"
GATEWAY = {
    "type": "http",
    "url": URL,
    "headers": {"Authorization": "Bearer ${AGENCY_GATEWAY_TOKEN}"},
}


def test_is_made_once_for_the_agent_alone(tmp_path):
    assert configure(tmp_path, URL)
    path = tmp_path / FILE
    assert json.loads(path.read_text()) == {"mcpServers": {"agency": GATEWAY}}
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    assert not configure(tmp_path, URL)
    assert path.stat().st_ino == before


def test_what_the_agent_wrote_stays_and_the_gateway_is_put_right(tmp_path):
    own = {"mcpServers": {"mine": {"command": "x"}, "agency": {"url": "http://evil"}}, "more": [1]}
    (tmp_path / FILE).write_text(json.dumps(own))
    assert configure(tmp_path, URL)
    found = json.loads((tmp_path / FILE).read_text())
    assert found == {"mcpServers": {"mine": {"command": "x"}, "agency": GATEWAY}, "more": [1]}


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"mcpServers": []}', b'{"a": 1, "a": 2}', b"\xff", b" " * 2_000_000]
)
def test_a_file_that_is_none_is_left_as_it_is(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BadInputError, match="mend it, or move it away"):
        configure(tmp_path, URL)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_what_is_no_file_is_neither_followed_nor_replaced(tmp_path, kind):
    path, outside = tmp_path / FILE, tmp_path / "outside"
    outside.write_text("{}")
    {"link": lambda: path.symlink_to(outside), "directory": path.mkdir,
     "fifo": lambda: os.mkfifo(path)}[kind]()  # fmt: skip
    with pytest.raises(BadInputError, match="is in its place"):
        configure(tmp_path, URL)
    assert outside.read_text() == "{}"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text("{}")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(PrerequisiteError):
        configure(tmp_path, URL)
    assert (tmp_path / FILE).read_text() == "{}"


def test_the_command_as_its_unit_calls_it(tmp_path):
    def run(mcp: object) -> int:
        told = {"name": "pm", "role": "pm", "home": str(tmp_path), "mcp": mcp}
        (tmp_path / "pm.json").write_text(json.dumps(told))
        argv = [sys.executable, "-m", "agency", "workspace", "mcp", "configure", "pm"]
        argv += ["--settings", str(tmp_path)]
        return subprocess.run(argv, capture_output=True, timeout=60).returncode

    assert run(None) == 3
    assert run({"servers": {}, "gateway": None}) == 3
    assert run({"servers": {}, "gateway": "http://gateway.example/mcp"}) == 1
    assert run({"servers": {"x": {"command": "y"}}, "gateway": URL}) == 0
    assert "y" not in json.loads((tmp_path / FILE).read_text())["mcpServers"]
