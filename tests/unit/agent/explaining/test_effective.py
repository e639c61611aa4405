"""Effective policy of an agent: what it tells is what the parts decide."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.agent.explaining.commands import explain_command
from agency.agent.explaining.effective import BY_ARGUMENTS, Offered, explained, tool_answers
from agency.agent.proxy.config import ProxyConfig
from agency.errors import AgencyError
from agency.gosuto import canonical, decide, read_document

HEAD = "apiVersion: gosuto/v1\nmetadata: {name: pm}\n"
BODY = """\
trust: {rooms: ["!r:a.example"], senders: ["@alice:a.example"]}
limits: {costUsdPerMonth: 5, requestsPerMinute: 30}
approvals: {approvers: ["@alice:a.example"], ttlSeconds: 90}
mcpServers: {web: {command: [mcp-server-fetch, --quiet], secrets: {TOKEN: forge-token}}}
secrets: {forge-token: {}}
messaging: {targets: {team: "!t:a.example"}}
capabilities:
  read: {tool: web/fetch, answer: allow, arguments: {url: {prefix: "https://docs.example.org/"}}}
  rest: {tool: "web/*", answer: ask}
  never: {tool: web/erase, answer: deny}
"""
DOCUMENT = read_document("test", (HEAD + BODY).encode())
PROXY = {
    "port": 2100,
    "database": "/nowhere/ledger.db",
    "providers": {"acme": {"url": "https://models.example", "format": "openai"}},
    "models": {"small": {"provider": "acme", "price": {"input": 1.0, "output": 2.5}}},
    "accounts": {
        "pm": {
            "tokenSha256": "0" * 64,
            "models": ["small"],
            "tokensPerDay": 2000000,
            "usdPerDay": 7.0,
            "usdPerMonth": 60.0,
            "requestsPerMinute": 10,
        }
    },
}


def answers(document, *offered: Offered) -> dict[str, str]:
    return {each["tool"]: each["answer"] for each in tool_answers(document, offered)}


def test_each_tool_has_its_answer_also_those_that_only_the_server_knows() -> None:
    found = answers(DOCUMENT, Offered("web", ("erase", "fetch", "look")))
    assert found == {
        "web/erase": "deny",
        "web/fetch": BY_ARGUMENTS,
        "web/look": "ask",
        "web/*": "ask",
    }


_RULE = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(["web/a", "web/*", "*"]),
        "answer": st.sampled_from(["allow", "ask", "deny"]),
        "arguments": st.sampled_from([{}, {"x": {"exact": "1"}}, {"y": {"exact": "1"}}]),
    }
)


@settings(deadline=None)
@given(st.lists(_RULE, max_size=4))
def test_what_is_told_is_what_is_decided_whatever_the_arguments(rules: list[object]) -> None:
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "approvals": {"approvers": ["@a:a.example"]},
        "mcpServers": {"web": {"command": ["x"]}},
        "capabilities": {f"r{n}": rule for n, rule in enumerate(rules)},
    }
    document = read_document("test", json.dumps(told).encode())
    values = (None, "1", "2")
    calls = [
        {name: value for name, value in (("x", x), ("y", y)) if value is not None}
        for x, y in product(values, values)
    ]
    decided = {str(decide(document, "web/a", call).answer) for call in calls}
    answer = answers(document, Offered("web", ("a",)))["web/a"]
    if answer == BY_ARGUMENTS:
        assert decided != {"deny"} or any(rule["arguments"] for rule in rules)
    else:
        assert decided == {answer}


def test_of_two_limits_it_tells_the_lower_one() -> None:
    told = explained("pm", DOCUMENT, ProxyConfig.model_validate_json(json.dumps(PROXY)), ())
    budget = told["models"]["budget"]
    assert (budget["usdPerMonth"], budget["requestsPerMinute"]) == (5.0, 10)
    assert told["models"]["asked"] == "small"
    assert told["servers"] == [
        {
            "name": "web",
            "reached": "mcp-server-fetch --quiet",
            "secrets": ["forge-token"],
            "tools": None,
        }
    ]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A proxy's configuration beside what the agent's gateway holds."""
    state = tmp_path / "gateway"
    state.mkdir()
    (state / "policy.json").write_bytes(canonical(DOCUMENT))
    accepted = {"spec": "s", "list_sha256": "l", "tools": {"fetch": "d", "look": "d"}}
    kept = state / "accepted.json"
    kept.write_text(json.dumps({"servers": {"web": accepted}}))
    kept.chmod(0o600)
    account = {**PROXY["accounts"]["pm"], "gosuto": str(state / "policy.json")}  # type: ignore[index]
    file = tmp_path / "proxy.json"
    file.write_text(json.dumps({**PROXY, "accounts": {"pm": account}}))
    return file


def test_a_person_reads_what_the_gateway_and_the_proxy_hold(machine: Path) -> None:
    done = CliRunner().invoke(explain_command, ["pm", f"--config={machine}"])
    assert done.exit_code == 0, done.output
    for line in (
        "  in !r:a.example",
        "  of @alice:a.example",
        "  web/fetch  by arguments",
        "    read: allow if url is below https://docs.example.org/",
        "  web/look   ask",
        "    rest: ask",
        "  anything else: deny",
        "  @alice:a.example; a call waits 90 s",
        "  web: 2 tools, with forge-token (mcp-server-fetch --quiet)",
        "  small (small of acme): 1 USD in, 2.5 USD out a million",
        "  2,000,000 tokens a day",
        "  5.0 USD a month",
    ):
        assert line in done.output.splitlines(), line


def test_who_has_no_account_or_no_gosuto_is_told_so(machine: Path) -> None:
    def fault(*words: str) -> AgencyError:
        error = CliRunner().invoke(explain_command, list(words)).exception
        assert isinstance(error, AgencyError)
        return error

    told = fault("dev", f"--config={machine}")
    assert (told.message, told.hint) == (
        "dev has no account at the proxy",
        "a program is there for: pm",
    )
    (machine.parent / "gateway" / "policy.json").unlink()
    told = fault("pm", f"--config={machine}")
    assert "no Gosuto yet" in told.message
    assert "gosuto set pm" in str(told.hint)
    other = machine.parent / "other.yaml"
    other.write_text(HEAD.replace("pm", "dev"))
    assert "not of pm" in fault("pm", f"--gosuto={other}").message
