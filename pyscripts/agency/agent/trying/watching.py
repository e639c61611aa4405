"""Watch over a trial: each call, what decided it, how it ended, what was used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.programs.tools import Outcome, Tool, Tools
from agency.agent.proxy.calling import Record
from agency.agent.scripted.script import core
from agency.agent.trying.terminal import Terminal
from agency.canonical import canonical_json, sha256_hex
from agency.clock import new_id
from agency.gosuto import Answer, Document, decide, may_be_called
from agency.protocols import Receipt

_NONE = "no rule allows it"
_REASONS: Mapping[str, str] = {
    "no-policy": "there is no policy that can be read",
    "no-tool": "no server offers this tool",
    "cut-off": "the server's tools changed",
    "arguments": "its arguments are not those of the tool",
}
_STYLES: Mapping[str, str] = {"allow": "green", "ask": "yellow", "deny": "red"}


@dataclass(slots=True)
class Watch:
    """Audit log of a trial, kept in memory only; `calls` are the rows of calls, by their id."""

    terminal: Terminal
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0
    model_calls: int = 0
    _number: int = 0

    async def record(self, event: str, detail: dict[str, Any]) -> Receipt:
        """Take a row of the gateway."""
        self._number += 1
        if event == "tool.decided":
            self._decided(detail)
        elif event == "tool.ended":
            self._ended(detail)
        return Receipt(self._number, sha256_hex(f"{self._number}".encode()))

    async def close(self) -> None:
        """Close nothing."""

    def model_called(self, told: Record) -> None:
        """Take what the proxy settled."""
        self.tokens += told.amount.tokens
        self.model_calls += 1

    def _decided(self, detail: dict[str, Any]) -> None:
        keys = ("tool", "arguments", "decision", "rule", "why")
        self.calls[str(detail["call"])] = {key: detail.get(key) for key in keys}
        decision, rule = str(detail["decision"]), detail.get("rule")
        why = (
            f", by the rule {rule}" if rule else f": {_REASONS.get(str(detail.get('why')), _NONE)}"
        )
        self.terminal.brief(f"    {decision}{why}", _STYLES.get(decision, ""))

    def _ended(self, detail: dict[str, Any]) -> None:
        row = self.calls.setdefault(str(detail["call"]), {"tool": detail.get("tool")})
        row["outcome"] = detail.get("outcome")
        row["duration_ms"] = took = detail.get("duration_ms")
        within = "" if took is None else f" in {took} ms"
        self.terminal.brief(f"    {detail.get('outcome')}{within}")


@dataclass(frozen=True, slots=True)
class OwnTools:
    """Tools beside the gateway's, which decide by themselves: their calls are put on record here.

    The name of such a tool is its own, `builtin/send-message`.
    """

    inner: Tools
    document: Document
    watch: Watch

    async def list(self) -> tuple[Tool, ...]:
        """Return those that the policy may allow."""
        found = await self.inner.list()
        return tuple(each for each in found if may_be_called(self.document, each.name))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Make a call, between two rows."""
        found, call = decide(self.document, name, arguments), new_id("own")
        digest = sha256_hex(canonical_json(dict(arguments)))
        row = {"decision": str(found.answer), "rule": found.rule, "why": None}
        await self.watch.record(
            "tool.decided", {"call": call, "tool": name, "arguments": digest, **row}
        )
        outcome = await self.inner.call(name, arguments)
        if found.answer is Answer.ALLOW:
            ended = "failed" if outcome.failed else "done"
            await self.watch.record("tool.ended", {"call": call, "outcome": ended})
        return outcome


@dataclass(frozen=True, slots=True)
class WatchedTools:
    """Tools whose calls are shown with their arguments before they are made."""

    inner: Tools
    terminal: Terminal

    async def list(self) -> tuple[Tool, ...]:
        """Return the tools."""
        return await self.inner.list()

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Show a call, make it, and show why if it did not succeed."""
        told = json.dumps(dict(arguments), ensure_ascii=False)
        self.terminal.brief(f"  → {name.replace('__', '/', 1)} {told}", "cyan")
        outcome = await self.inner.call(name, arguments)
        if outcome.failed:
            said = core(outcome.text).strip().partition("\n")[0]
            self.terminal.brief(f"    {said}", "red")
        return outcome
