"""Configuration of Grafana Alloy, which forwards the agents' audit logs: read by Alloy's parser.

Alloy itself is not to be had on a test host; its parser is a module of Go. What blocks and
attributes there are is from Alloy's reference (local.file_match, loki.source.file, loki.process,
loki.write), as far as this configuration goes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from agency.workspace.audit.storage.place import closed_name, current_name

SOURCE = Path(__file__).resolve().parents[2] / "support/alloycheck"
Texts = dict[str, Any]
Read = Callable[[str], list[dict[str, Any]]]

# Block: its attributes, those that it must have, and the blocks in it.
REFERENCE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "local.file_match": ({"path_targets", "sync_period"}, {"path_targets"}, set()),
    "loki.source.file": (
        {"targets", "forward_to", "encoding", "tail_from_end", "legacy_positions_file"},
        {"targets", "forward_to"},
        {"decompression", "file_watch"},
    ),
    "loki.process": ({"forward_to"}, {"forward_to"}, {"stage.json", "stage.labels"}),
    "stage.json": ({"expressions", "source", "drop_malformed"}, {"expressions"}, set()),
    "stage.labels": ({"values"}, {"values"}, set()),
    "stage.timestamp": (
        {"source", "format", "fallback_formats", "location", "action_on_failure"},
        {"source", "format"},
        set(),
    ),
    "loki.write": ({"max_streams", "external_labels"}, set(), {"endpoint", "wal"}),
    "endpoint": (
        {"url", "name", "headers", "batch_wait", "batch_size", "tenant_id", "bearer_token_file"},
        {"url"},
        {"basic_auth", "tls_config"},
    ),
    "basic_auth": ({"username", "password", "password_file"}, set(), set()),
}
REFERENCE["loki.process"][2].add("stage.timestamp")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not here: Debian has it in the package golang-go")
    program = tmp_path_factory.mktemp("alloy") / "alloycheck"
    argv = [go, "build", "-buildvcs=false", "-o", str(program), "."]
    made = subprocess.run(argv, cwd=SOURCE, capture_output=True, text=True, timeout=300)
    if made.returncode != 0 and "dial tcp" in made.stderr:
        pytest.skip("Alloy's parser cannot be downloaded here")
    assert made.returncode == 0, made.stderr

    def read(text: str) -> list[dict[str, Any]]:
        done = subprocess.run([program], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return read


def faults(blocks: list[dict[str, Any]]) -> list[str]:
    """What of blocks is not as Alloy's reference has it."""
    found = []
    for block in blocks:
        name = block["name"]
        if name not in REFERENCE:
            found.append(f"{name}: no such block")
            continue
        known, needed, inner = REFERENCE[name]
        given = set(block["attributes"])
        found += [f"{name}: no attribute {one}" for one in sorted(given - known)]
        found += [f"{name}: lacks {one}" for one in sorted(needed - given)]
        names = {one["name"] for one in block["blocks"]}
        found += [f"{name}: no block {one}" for one in sorted(names - inner)]
        found += faults(block["blocks"])
    return found


def test_alloys_parser_takes_it_and_its_parts_are_those_of_the_reference(
    texts: Texts, read: Read
) -> None:
    text = texts["alloy"]["text"]
    blocks = read(text)
    assert faults(blocks) == []
    labels = {f"{one['name']}.{one['label']}" for one in blocks}
    sources = re.findall(r"= \[?([a-z_.]+)\.(?:receiver|targets)\]?", text)
    assert set(sources) < labels, "what one names is there"
    assert len(sources) == 3


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("forward_to = [loki.process", "forward = [loki.process"), ("password_file", "secret")],
)
def test_a_misspelt_attribute_is_found(texts: Texts, read: Read, right: str, wrong: str) -> None:
    assert right in texts["alloy"]["text"]
    assert faults(read(texts["alloy"]["text"].replace(right, wrong)))


def test_what_is_no_configuration_is_refused(texts: Texts, read: Read) -> None:
    with pytest.raises(AssertionError, match=r"config\.alloy"):
        read(texts["alloy"]["text"].replace("}]", "}"))


def test_each_record_is_sent_once_and_the_password_is_in_no_text(texts: Texts) -> None:
    text = texts["alloy"]["text"]
    taken, left = (
        Path(re.search(rf'"{key}"\s*= "([^"]+)"', text)[1]).name  # type: ignore[index]
        for key in ("__path__", "__path_exclude__")
    )
    closed = closed_name("pm", 1, 20)
    assert fnmatchcase(current_name("a-b"), taken)
    assert not fnmatchcase(current_name("a-b"), left)
    assert fnmatchcase(closed, left), "it was sent under its first name"
    assert 'password_file = "/run/credentials/alloy.service/loki-password"' in text
    service = texts["alloy"]["serviceConfig"]
    assert service["LoadCredential"] == ["loki-password:/root/loki-password"]
    assert service["SupplementaryGroups"] == ["adm"]
    assert "--disable-reporting" in texts["alloy"]["flags"]
