"""The OpenAPI description of ACP: current, valid, and of what the agent serves."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from agency.agent.server import build_app
from agency.clock import Clock
from agency.protocols import ENDPOINTS, AgentConfig, openapi_document

ROOT = Path(__file__).resolve().parents[3]
GENERATOR = ROOT / "tools" / "docgen" / "acp.py"


def check(page: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(GENERATOR), "--check", str(page)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_page_and_description_are_current():
    done = check(ROOT / "docs" / "acp.md")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stale", ["acp.md", "acp.json"])
def test_a_stale_one_is_found(tmp_path: Path, stale: str):
    for name in ("acp.md", "acp.json"):
        text = (ROOT / "docs" / name).read_text()
        changed = text.replace("/v1/status", "/v1/state", 1)
        (tmp_path / name).write_text(changed if name == stale else text)
    done = check(tmp_path / "acp.md")
    assert done.returncode == 1
    assert "not current" in done.stderr


def test_the_agent_serves_what_is_described_and_nothing_else():
    app = build_app(AgentConfig(name="pm", role="pm", port=20001), "a-token", Clock())
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {
        (method.upper(), path)
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    }
    assert served == described | {("GET", "/health"), ("GET", "/status")}
    assert len(described) == len(ENDPOINTS)


def test_every_schema_is_one_and_every_reference_leads_somewhere():
    document = openapi_document()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    text = json.dumps(document)
    used = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert used
    assert used <= known


def test_a_secret_has_no_place_in_an_answer():
    schemas = openapi_document()["components"]["schemas"]
    answers = {each.answer.__name__ for each in ENDPOINTS if each.answer is not None}
    assert set(schemas["SecretLease"]["properties"]) == {
        *("id", "name", "version", "token", "expires_at")
    }
    assert "SecretLease" not in answers
    for name in answers | {"HeldSecret", "AgentEvent", "Problem"}:
        assert not {"token", "value"} & set(schemas[name]["properties"]), name
