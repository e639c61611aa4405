"""Effective policy: of each tool its answer and rule, of each limit the one that holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.policy import narrowed
from agency.gosuto import Answer, Document, rules_about, sha256

BY_ARGUMENTS = "by arguments"


@dataclass(frozen=True, slots=True)
class Offered:
    """Tools that a server offers and that were accepted; None: it never answered."""

    server: str
    tools: tuple[str, ...] | None


def tool_answers(document: Document, offered: Iterable[Offered]) -> list[dict[str, Any]]:
    """Tell of each tool what the policy answers, and by which rules.

    Tools are those that servers offer, and those that rules name.
    """
    named = {each.tool for each in document.capabilities.values()}
    known = {f"{each.server}/{tool}" for each in offered for tool in each.tools or ()}
    return [_answer(document, tool) for tool in sorted(named | known, key=_wide_last)]


def _wide_last(tool: str) -> tuple[int, str]:
    return (1 + (tool == "*") if tool.endswith("*") else 0, tool)


def _answer(document: Document, tool: str) -> dict[str, Any]:
    rules = [
        {
            "rule": name,
            "answer": rule.answer,
            "when": {
                argument: condition.model_dump(mode="json", by_alias=True, exclude_none=True)
                for argument, condition in rule.arguments.items()
            },
        }
        for name, rule in rules_about(document, tool)
    ]
    return {"tool": tool, "answer": _one_answer(rules), "rules": rules}


def _one_answer(rules: Iterable[Mapping[str, Any]]) -> str:
    """Return the answer to every call of a tool, or that its arguments decide."""
    strictest = [str(each) for each in Answer]
    fixed = {each["answer"] for each in rules if not each["when"]}
    open_to_arguments = {each["answer"] for each in rules if each["when"]}
    # An argument that has no one meaning refuses, whatever the rule's own answer.
    if strictest[0] in fixed or not (fixed | open_to_arguments) - {strictest[0]}:
        return strictest[0]
    return BY_ARGUMENTS if open_to_arguments else min(fixed, key=strictest.index)


def explained(
    agent: str, document: Document, config: ProxyConfig | None, offered: Iterable[Offered]
) -> dict[str, Any]:
    """Tell everything about an agent; without the proxy's configuration, of its Gosuto alone."""
    offers = tuple(offered)
    approvals = document.approvals
    return {
        "agent": agent,
        "gosuto": {
            "sha256": sha256(document),
            "template": document.metadata.template,
            "description": document.metadata.description,
        },
        "trust": _plain(document.trust),
        "tools": tool_answers(document, offers),
        "otherwise": {"answer": str(Answer.DENY), "because": "no rule allows it"},
        "approvals": None if approvals is None else _plain(approvals),
        "servers": [_server(name, document, offers) for name in sorted(document.mcp_servers)],
        "messaging": _plain(document.messaging),
        "limits": _plain(document.limits),
        "models": None if config is None else _models(agent, document, config),
    }


def _models(agent: str, document: Document, config: ProxyConfig) -> dict[str, Any]:
    """Tell which models it may ask, and what it may use: the lower one of each limit."""
    account = narrowed(config.accounts[agent], document, config.models)
    return {
        "asked": document.persona.model or next(iter(account.models), None),
        "allowed": [
            {
                "name": name,
                "provider": config.models[name].provider,
                "upstream": config.models[name].upstream or name,
                "price": _plain(config.models[name].price),
            }
            for name in account.models
        ],
        "budget": {
            "tokensPerDay": account.tokens_per_day,
            "usdPerDay": account.usd_per_day,
            "usdPerMonth": account.usd_per_month,
            "requestsPerMinute": account.requests_per_minute,
            "concurrentRequests": account.concurrent_requests,
            "tokensPerRequest": account.tokens_per_request,
            "overLimit": account.over_limit,
        },
    }


def _server(name: str, document: Document, offers: Iterable[Offered]) -> dict[str, Any]:
    spec = document.mcp_servers[name]
    found = {each.server: each.tools for each in offers}.get(name)
    secrets = sorted({*spec.secrets.values(), *([spec.bearer] if spec.bearer else [])})
    return {
        "name": name,
        "reached": spec.url or " ".join(spec.command or ()),
        "secrets": secrets,
        "tools": None if found is None else len(found),
    }


def _plain(model: Any) -> Mapping[str, Any]:
    told: Mapping[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return told
