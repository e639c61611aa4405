"""Reading: every problem with its line and field; one canonical form."""

from __future__ import annotations

import pytest
from gosutos import RULE_SETS, document, filled
from hypothesis import given

from agency.canonical import sha256_hex
from agency.errors import BadInputError
from agency.gosuto import (
    GosutoError,
    as_yaml,
    canonical,
    read_canonical,
    read_document,
    sha256,
    template_names,
)


def denied(condition: str) -> str:
    """A rule with this condition on the argument u."""
    rule = f"{{tool: builtin/x, answer: deny, arguments: {{u: {condition}}}}}"
    return f"capabilities: {{a: {rule}}}\n"


START = "apiVersion: gosuto/v1\nmetadata: {name: pm}\n"


def problems(text: str) -> list[str]:
    with pytest.raises(GosutoError) as caught:
        read_document("f.yaml", text.encode())
    return [str(each) for each in caught.value.problems]


def test_every_problem_has_its_line_and_field():
    found = problems(
        START
        + "limits:\n  requestsPerMinute: 0\n  costUsdPerMonth: cheap\n"
        + "capabilities:\n  fetch:\n    tol: web/fetch\n    answer: on\n"
        + "    arguments: {url: {prefix: 'https://a@b/'}}\n"
    )
    prefix = "'https://a@b/' has a user before the host"
    assert found == [
        "f.yaml:4: limits.requestsPerMinute: must be greater than or equal to 1, not the number 0",
        'f.yaml:5: limits.costUsdPerMonth: must be a number, not the text "cheap"',
        "f.yaml:7: capabilities.fetch.tool: is missing; add it, such as `tool: browser/fetch`",
        'f.yaml:8: capabilities.fetch.tol: is not a known key; did you mean "tool"?',
        "f.yaml:9: capabilities.fetch.answer: must be 'allow', 'ask' or 'deny', not the boolean on",
        f"f.yaml:10: capabilities.fetch.arguments.url.prefix: {prefix}",
    ]


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ("apiVersion: gosuto/v1\n", "apiVersion", "is here twice"),
        ("capabilities: {a: {tool: web/x, answer: allow}}\n", "capabilities.a.tool", "mcpServers"),
        (
            "capabilities: {a: {tool: builtin/x, answer: ask}}\n",
            "capabilities.a.answer",
            "approvers",
        ),
        ("mcpServers: {builtin: {command: [x]}}\n", "mcpServers.builtin", "taken"),
        ("mcpServers: {a: {}}\n", "mcpServers.a", "exactly one of command and url"),
        (
            "mcpServers: {a: {command: [x], url: https://a.example/}}\n",
            "mcpServers.a",
            "exactly one of command and url",
        ),
        (
            "mcpServers: {a: {url: https://a.example/, env: {A: b}}}\n",
            "mcpServers.a",
            "env and secrets are for a command",
        ),
        (
            "secrets: {k: {}}\nmcpServers: {a: {command: [x], bearer: k}}\n",
            "mcpServers.a.bearer",
            "with a url",
        ),
        (
            "secrets: {k: {}}\nmcpServers: {a: {url: http://a.example/, bearer: k}}\n",
            "mcpServers.a.bearer",
            "in the clear",
        ),
        (
            "mcpServers: {a: {url: https://a.example/, bearer: k}}\n",
            "mcpServers.a.bearer",
            "under secrets",
        ),
        ("mcpServers: {a: {url: ftp://a.example/}}\n", "mcpServers.a.url", "whole URL"),
        ("mcpServers: {a: {url: wss://a.example/}}\n", "mcpServers.a.url", "must begin with"),
        ("mcpServers: {a: {url: https://u@a.example/}}\n", "mcpServers.a.url", "a user"),
        ("mcpServers: {a: {url: https://a.example/?k=1}}\n", "mcpServers.a.url", "query"),
        ("persona: {apiKey: openai}\n", "persona.apiKey", "not under secrets"),
        ("mcpServers: {a: {command: [x], secrets: {K: k}}}\n", "mcpServers.a.secrets.K", "secrets"),
        ("gateways: {a: {type: webhook, secret: s}}\n", "gateways.a.secret", "not under secrets"),
        ("gateways: {a: {type: cron, message: x}}\n", "gateways.a", "needs schedule"),
        (
            "gateways: {a: {type: program, command: [x], message: y}}\n",
            "gateways.a.message",
            "not for",
        ),
        (
            "mcpServers: {a: {command: [x]}}\ngateways: {a: {type: program, command: [x]}}\n",
            "gateways.a",
            "MCP server too",
        ),
        (
            'gateways: {a: {type: cron, schedule: "61 * * * *", message: x}}\n',
            "gateways.a.schedule",
            "0 to 59",
        ),
        (
            'gateways: {a: {type: cron, schedule: "* * * *", message: x}}\n',
            "gateways.a.schedule",
            "five",
        ),
        ('trust: {senders: ["*"]}\n', "trust.senders[0]", "full Matrix id"),
        ('trust: {rooms: ["*"]}\n', "trust.rooms[0]", "id of a room"),
        ("approvals: {approvers: []}\n", "approvals.approvers", "at least one"),
        (
            denied("{}"),
            "capabilities.a.arguments.u",
            "exactly one",
        ),
        (
            denied("{exact: 1, regex: a}"),
            "capabilities.a.arguments.u",
            "exact and regex",
        ),
        (
            denied("{regex: '(?=a)'}"),
            "capabilities.a.arguments.u.regex",
            "RE2",
        ),
        (
            denied("{range: {min: 2, max: 1}}"),
            "capabilities.a.arguments.u.range",
            "no number",
        ),
        (
            denied("{hosts: ['*.org']}"),
            "capabilities.a.arguments.u.hosts[0]",
            "top-level",
        ),
        (
            denied("{prefix: 'https://a/?q'}"),
            "capabilities.a.arguments.u.prefix",
            "query",
        ),
        ('persona: {prompt: "a\\u2028b"}\n', "persona.prompt", "U+2028"),
    ],
)
def test_what_is_wrong_is_refused(more, field, said):
    (found,) = problems(START + more)
    place, _, rest = found.partition(": ")
    assert place.startswith("f.yaml:")
    assert rest.startswith(f"{field}: ")
    assert said in rest


def test_another_version_is_one_problem():
    (found,) = problems("apiVersion: gosuto/v2\nmetadata: {title: pm}\nnews: 1\n")
    assert found == "f.yaml:1: apiVersion: is 'gosuto/v2'; this version reads gosuto/v1"


def test_a_document_has_a_size_limit():
    problems(START + "persona: {prompt: '" + "a" * 60_000 + "'}\n")


@pytest.mark.parametrize("name", template_names())
def test_a_document_survives_its_forms(name):
    found = filled(name)
    assert read_document("again", as_yaml(found).encode()) == found
    assert read_canonical(canonical(found), sha256(found)) == found


def test_equal_documents_have_equal_digests_however_they_are_written():
    one = read_document("a", (START + "limits: {costUsdPerMonth: 5}\n").encode())
    two = read_document(
        "b",
        b"# a comment\nlimits:\n  costUsdPerMonth: 5.0\nmetadata:\n  name: pm\n"
        b"  description: ''\napiVersion: gosuto/v1\n",
    )
    assert sha256(one) == sha256(two)
    three = read_document("c", (START + "limits: {costUsdPerMonth: 6}\n").encode())
    assert sha256(three) != sha256(one)


def test_bytes_with_another_digest_are_refused():
    found = filled("pm")
    with pytest.raises(BadInputError, match="digest"):
        read_canonical(canonical(found) + b" ", sha256(found))
    with pytest.raises(BadInputError, match="not a Gosuto"):
        read_canonical(b"{}", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 9000, b'{"apiVersion": "gosuto/v1", "apiVersion": "gosuto/v1"}']
)
def test_bytes_that_are_no_one_object_are_refused(data):
    with pytest.raises(BadInputError, match=r"not JSON|not a Gosuto"):
        read_canonical(data, sha256_hex(data))


@given(RULE_SETS)
def test_the_canonical_form_is_one(rules):
    found = document(rules)
    assert canonical(read_document("y", as_yaml(found).encode())) == canonical(found)
