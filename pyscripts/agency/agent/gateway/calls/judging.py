"""Judgement on a call, before anything is done. Pure.

policy unreadable ─▶ refused         name not exactly that of a tool ─▶ refused
policy says deny  ─▶ refused         arguments not JSON, too large, not of the schema ─▶ refused
policy says ask   ─▶ asked           policy says allow ─▶ made
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agency.agent.gateway.calls.schemas import MAX_DEPTH
from agency.agent.gateway.calls.tools import Tool
from agency.canonical import canonical_json, depth_of, sha256_hex
from agency.gosuto import MAX_ARGUMENTS, TOOL, Answer, Document, decide, may_be_called
from agency.protocols import MAX_SHOWN

Why = Literal["policy", "no-policy", "no-tool", "cut-off", "arguments"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The document that decides, and the SHA-256 of its bytes."""

    document: Document
    sha256: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement: the answer, the rule that gives it, and why; `why` is empty for allow and ask."""

    answer: Answer
    rule: str | None
    reason: str
    why: Why | None = None
    tool: Tool | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """Tools by full name, and servers that are cut off until a person has looked."""

    tools: Mapping[str, Tool]
    cut_off: frozenset[str] = frozenset()


def judge(policy: Policy | None, offered: Offered, name: str, args: Mapping[str, Any]) -> Verdict:
    """Judge a call of `name`, which is `server/tool`."""
    if policy is None:
        return _refused("no-policy", "there is no policy that can be read")
    if not TOOL.match(name):
        return _refused("no-tool", "this is no name of a tool")
    fault = arguments_fault(args)
    if fault:
        return _refused("arguments", fault)
    decision = decide(policy.document, name, args)
    if decision.answer is Answer.DENY:
        return Verdict(Answer.DENY, decision.rule, decision.reason, "policy")
    tool = offered.tools.get(name)
    if name.partition("/")[0] in offered.cut_off:
        return _refused("cut-off", "the server's tools changed, and nobody has looked at them yet")
    if tool is None:
        return _refused("no-tool", "no server offers this tool now")
    fault = tool.arguments.fault(dict(args))
    if fault:
        return _refused("arguments", fault)
    if decision.answer is Answer.ASK and len(shown_arguments(args)) > MAX_SHOWN:
        return _refused("arguments", f"a person is asked, and sees at most {MAX_SHOWN} characters")
    return Verdict(decision.answer, decision.rule, decision.reason, None, tool)


def arguments_fault(args: Mapping[str, Any]) -> str:
    """Say why arguments are none that a call can have; empty if they are."""
    if depth_of(args, MAX_DEPTH) > MAX_DEPTH:
        return f"the arguments are deeper than {MAX_DEPTH}"
    try:
        size = len(canonical_json(dict(args)))
    except (TypeError, ValueError):
        return "the arguments are not JSON"
    return f"the arguments have more than {MAX_ARGUMENTS} bytes" if size > MAX_ARGUMENTS else ""


def listed(policy: Policy | None, offered: Offered) -> tuple[Tool, ...]:
    """List the tools that the program may know of: none that the policy refuses in any case."""
    if policy is None:
        return ()
    return tuple(
        tool
        for name, tool in sorted(offered.tools.items())
        if tool.server not in offered.cut_off and may_be_called(policy.document, name)
    )


def arguments_digest(args: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of arguments; for ones that are not JSON, of what Python shows."""
    try:
        return sha256_hex(canonical_json(dict(args)))
    except (TypeError, ValueError, RecursionError):
        return sha256_hex(b"not JSON")


def call_digest(policy: Policy, name: str, args: Mapping[str, Any]) -> str:
    """Compute the digest of the exact call under the exact policy."""
    bound = {"tool": name, "arguments": dict(args), "policy": policy.sha256}
    return sha256_hex(canonical_json(bound))


def shown_arguments(args: Mapping[str, Any]) -> str:
    """Write arguments for a person: whole, in ASCII, so that no letter stands for another."""
    return json.dumps(dict(args), ensure_ascii=True, sort_keys=True, separators=(", ", ": "))


def _refused(why: Why, reason: str) -> Verdict:
    return Verdict(Answer.DENY, None, reason, why)
