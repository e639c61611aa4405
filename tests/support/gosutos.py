"""Documents, calls and strategies for tests of Gosuto."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agency.gosuto import Document, load_template

ROOM, ALICE, BOB = "!ops:x.org", "@alice:x.org", "@bob:x.org"
VALUES = {
    "room": ROOM,
    "operator": ALICE,
    "task": "Sum it up",
    "site": "https://docs.example.org/x",
    "forge": "https://git.example.org/",
    "repository": "app",
    "project": "team/app",
}


def filled(name: str, agent: str = "pm", **more: str) -> Document:
    """The document of a template with values of our own."""
    template = load_template(name)
    values = {key: VALUES[key] for key in template.variables if key in VALUES}
    return template.fill(agent, {**values, **more})


def document(capabilities: dict[str, Any], **more: Any) -> Document:
    """A document with these rules, and with all that they refer to."""
    data = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "capabilities": capabilities,
        "approvals": {"approvers": [ALICE]},
        "mcpServers": {"web": {"command": ["web"]}, "git": {"command": ["git"]}},
        **more,
    }
    return Document.model_validate(data, by_alias=True)


def rule(tool: str, answer: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "answer": answer, "arguments": arguments}


TOOLS = st.sampled_from(["web/fetch", "web/post", "git/run", "other/tool"])
PATTERNS = st.sampled_from(["*", "web/*", "git/*", "web/fetch", "web/post", "git/run"])
HOSTS = st.sampled_from(["example.org", "a.example.org", "*.example.org", "127.0.0.1"])
URLS = st.sampled_from(
    [
        "https://example.org/",
        "https://example.org/docs/a",
        "https://a.example.org:443/docs?q=1",
        "http://example.org/",
        "https://example.org@evil.org/",
        "https://example.org/docs/../admin",
        "ftp://example.org/",
        "https://ex\u00e4mple.org/",
    ]
)
CONSTRAINTS = st.one_of(
    st.sampled_from(["GET", 1, True]).map(lambda value: {"exact": value}),
    st.sampled_from(["https://example.org", "https://example.org/docs/"]).map(
        lambda value: {"prefix": value}
    ),
    st.lists(HOSTS, min_size=1, max_size=3).map(lambda value: {"hosts": value}),
    st.sampled_from(["[a-z]+", "GET|POST", ".*"]).map(lambda value: {"regex": value}),
    st.sampled_from([{"min": 1}, {"max": 5}, {"min": 0, "max": 1}]).map(
        lambda value: {"range": value}
    ),
)
NAMES = st.sampled_from(["url", "method", "count", "/options/url"])
RULES = st.builds(
    lambda tool, answer, arguments: {"tool": tool, "answer": answer, "arguments": arguments},
    PATTERNS,
    st.sampled_from(["allow", "ask", "deny"]),
    st.dictionaries(NAMES, CONSTRAINTS, max_size=2),
)
RULE_SETS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), RULES, max_size=5)
JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        URLS,
        st.sampled_from(["GET", "POST", 1, 3, 0.5, True]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(
    st.one_of(st.sampled_from(["url", "method", "count", "options"]), st.text(max_size=5)),
    JSON_VALUES,
    max_size=4,
)
