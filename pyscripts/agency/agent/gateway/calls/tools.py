"""Tools on offer, and the names by which they are called. Pure.

A tool is `server/tool` in the Gosuto and in ACP, and `server__tool` to a program, whose model takes
no slash. A server's name has no underscore, so each has one reading. A call must give one of these
names exactly; nothing is folded, trimmed or decoded.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agency.agent.gateway.calls.schemas import BadSchemaError, Checker
from agency.canonical import canonical_json, sha256_hex
from agency.gosuto import TOOL

MAX_TOOLS = 256  # of one server
MAX_DESCRIPTION = 4000
_JOIN = "__"


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A server's description of one tool."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # title, annotations

    @property
    def digest(self) -> str:
        """SHA-256 of everything that it says."""
        try:
            return sha256_hex(
                canonical_json(
                    [
                        self.name,
                        self.description,
                        self.input_schema,
                        self.output_schema,
                        self.more,
                    ]
                )
            )
        except (ValueError, RecursionError):
            # Not JSON, such as half a surrogate: no call gets there, and it equals nothing.
            return sha256_hex(repr(self).encode(errors="backslashreplace"))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called, if the policy says so."""

    server: str
    name: str
    description: str
    input_schema: Mapping[str, Any]
    arguments: Checker = field(repr=False, compare=False)
    output: Checker | None = field(default=None, repr=False, compare=False)

    @property
    def full(self) -> str:
        """Name in the Gosuto, in ACP and in the audit log."""
        return f"{self.server}/{self.name}"

    @property
    def public(self) -> str:
        """Name that the program sees."""
        return f"{self.server}{_JOIN}{self.name}"


def full_name(public: str) -> str:
    """Return the Gosuto's name of the tool that a program names; empty if it cannot be one."""
    server, joined, tool = public.partition(_JOIN)
    found = f"{server}/{tool}" if joined else ""
    return found if TOOL.match(found) else ""


def list_digest(offers: Iterable[ToolOffer]) -> str:
    """Compute the digest of a list of tools; their order means nothing."""
    return sha256_hex(canonical_json(sorted(each.digest for each in offers)))


def usable(server: str, offers: Iterable[ToolOffer]) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """Split a list into tools that can be called, and reasons for those that cannot.

    Two names that a reader takes for one (by case, or by dot, dash and underscore) are both left
    out, and so is a tool whose name or schema is none.
    """
    found = tuple(offers)
    looks = Counter(_look(each.name) for each in found)
    tools, refused = [], []
    for each in found:
        if not TOOL.match(f"{server}/{each.name}"):
            refused.append("a tool has a name that is none")
        elif looks[_look(each.name)] > 1:
            refused.append(f"{each.name}: another tool has a name that looks like it")
        else:
            try:
                tools.append(_tool(server, each))
            except BadSchemaError as error:
                refused.append(f"{each.name}: {error}")
    return tuple(tools), tuple(refused)


def _tool(server: str, offer: ToolOffer) -> Tool:
    schema = offer.input_schema
    output = None if offer.output_schema is None else Checker(offer.output_schema)
    return Tool(server, offer.name, readable(offer.description), schema, Checker(schema), output)


def _look(name: str) -> str:
    return name.casefold().translate(str.maketrans(".-", "__"))


def readable(text: str, most: int = MAX_DESCRIPTION) -> str:
    """Return text without what a reader does not see: controls, and marks that hide or turn."""
    kept = "".join(
        each
        for each in text[:most]
        if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    return kept if len(text) <= most else f"{kept} [cut]"
