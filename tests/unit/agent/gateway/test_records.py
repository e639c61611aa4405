"""Rows and answers in full: what an auditor reads of each end, and what the program is told."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from gateway_desk import ALICE, Desk, decision, policy, tool, until, waiting

from agency.agent.gateway.calls.approvals import Question
from agency.agent.gateway.calls.dispatch import (
    MAX_CALLS,
    Call,
    Refusal,
    ServerAwayError,
    ServerGoneError,
)
from agency.agent.gateway.calls.judging import Offered, judge
from agency.agent.gateway.calls.results import MAX_BLOCKS, MAX_MEDIA, Block, Raw, Result, finish
from agency.agent.gateway.calls.schemas import BadSchemaError, Checker
from agency.agent.gateway.calls.tools import MAX_DESCRIPTION, ToolOffer, readable, usable
from agency.canonical import canonical_json, sha256_hex
from agency.protocols import MAX_APPROVALS, MAX_SHOWN
from agency.secrets import Redactor


def number(desk: Desk) -> None:
    """Give calls the ids call-1, call-2 and so on."""
    ids = iter(range(1, 100))
    desk.dispatcher.make_id = lambda: f"call-{next(ids)}"


def digest_of(args: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json(dict(args)))


def row(desk: Desk, **changes: Any) -> dict[str, Any]:
    """The decision on `web/echo` with the text hi, but for `changes`; what is None is left out."""
    assert desk.dispatcher.policy is not None
    full = {
        "call": "call-1",
        "tool": "web/echo",
        "named": None,
        "arguments": digest_of({"text": "hi"}),
        "decision": "allow",
        "rule": "echo",
        "why": None,
        "policy": desk.dispatcher.policy.sha256,
        "caller": "program",
        "trace": "t-1",
        **changes,
    }
    return {key: value for key, value in full.items() if value is not None}


def rows(desk: Desk) -> list[tuple[str, dict[str, Any]]]:
    """What the log holds, without what is None."""
    return [
        (event, {key: value for key, value in detail.items() if value is not None})
        for event, detail in desk.log.rows
    ]


def ended(outcome: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    full = {
        "call": "call-1",
        "tool": "web/echo",
        "outcome": outcome,
        "duration_ms": 0,
        "trace": "t-1",
        **changes,
    }
    return "tool.ended", {key: value for key, value in full.items() if value is not None}


async def test_a_call_that_was_made_has_two_rows(desk: Desk) -> None:
    number(desk)

    def later() -> Raw:
        desk.times.pass_(1.25)
        return Raw((), None, failed=False)

    desk.tools.answer = later
    await desk.call(text="hi")
    assert rows(desk) == [("tool.decided", row(desk)), ended("done", duration_ms=1250)]


async def test_a_result_that_failed_or_was_cut_is_on_record_as_that(desk: Desk) -> None:
    number(desk)
    desk.tools.answer = lambda: Raw((Block("text", "no"),), None, failed=True)
    await desk.call(text="hi")
    desk.tools.answer = lambda: Raw((Block("text", "x" * 200_000),), None, failed=False)
    await desk.call(text="hi")
    found = [each for each in rows(desk) if each[0] == "tool.ended"]
    assert found == [ended("failed"), ended("done", call="call-2", cut=True)]


async def test_a_refusal_has_one_row_with_its_reason(desk: Desk) -> None:
    number(desk)
    control = Call("web/erase", {"text": "hi"}, "control", None)
    assert await desk.dispatcher.call(control) == Refusal("policy", "refused: no rule allows it")
    denied = row(
        desk,
        tool="web/erase",
        decision="deny",
        rule=None,
        why="policy",
        caller="control",
        trace=None,
    )
    assert rows(desk) == [("tool.decided", denied)]


async def test_a_name_that_is_none_is_on_record_by_its_digest(desk: Desk) -> None:
    number(desk)
    answer = await desk.call("no name \ud800", text="hi")
    assert answer == Refusal("policy", "refused: this is no name of a tool")
    named = sha256_hex("no name \ud800".encode(errors="replace"))
    denied = row(desk, tool=None, named=named, decision="deny", rule=None, why="no-tool")
    assert rows(desk) == [("tool.decided", denied)]


async def test_without_a_policy_the_row_names_none(desk: Desk) -> None:
    number(desk)
    desk.dispatcher.set_policy(None)
    answer = await desk.call(text="hi")
    assert answer == Refusal("policy", "refused: there is no policy that can be read")
    ((_, told),) = rows(desk)
    assert (told["decision"], told["why"], "policy" in told) == ("deny", "no-policy", False)


@pytest.mark.parametrize(
    ("error", "outcome", "answer"),
    [
        (ServerAwayError("away"), "not-made", Refusal("unreachable", "away")),
        (
            ServerGoneError("gone"),
            "unknown",
            Refusal("outcome-unknown", "gone; it may have been made"),
        ),
    ],
)
async def test_a_server_that_is_lost_has_its_outcome_on_record(
    desk: Desk, error: Exception, outcome: str, answer: Refusal
) -> None:
    number(desk)

    def lost() -> Raw:
        raise error

    desk.tools.answer = lost
    assert await desk.call(text="hi") == answer
    assert rows(desk) == [("tool.decided", row(desk)), ended(outcome)]
    assert desk.dispatcher.journal.left.calls == {}
    desk.begin()
    assert desk.dispatcher.journal.left.calls == {}, "its end is in the journal"


async def test_an_approved_call_has_three_rows(desk: Desk) -> None:
    number(desk)
    task = asyncio.create_task(desk.call("files/read", text="hi"))
    asked: Any = await waiting(desk)
    desk.times.pass_(2)
    desk.approvals.decide(asked.id, decision(asked.digest))
    assert isinstance(await task, Result)
    approved = {"call": "call-1", "approval": asked.id, "by": ALICE, "digest": asked.digest}
    assert rows(desk) == [
        ("tool.decided", row(desk, tool="files/read", decision="ask", rule="read")),
        ("tool.approved", approved),
        ended("done", tool="files/read", duration_ms=2000),
    ]
    assert (asked.kind, asked.trace, asked.rule) == ("call", "t-1", "read")


async def test_every_way_that_an_asked_call_is_not_made_is_told_and_on_record(desk: Desk) -> None:
    number(desk)

    async def asked(text: str, then: Any) -> Refusal:
        task = asyncio.create_task(desk.call("files/read", text=text))
        found: Any = await waiting(desk)
        then(found)
        answer = await task
        assert answer == Refusal("policy", answer.reason, found.id)
        told = dict(rows(desk)[-1][1])
        assert told["approval"] == found.id
        return answer

    def deny(found: Any) -> None:
        desk.approvals.decide(found.id, decision(found.digest, "deny"))

    def expire(found: Any) -> None:
        desk.times.pass_(61)
        desk.approvals.drop_tools("none")
        desk.approvals.waiting()

    def change(_found: Any) -> None:
        desk.dispatcher.set_policy(policy({"read": ("files/read", "ask"), "x": ("web/*", "ask")}))

    assert (await asked("a", deny)).reason == "a person denied this call"
    assert rows(desk)[-1][1]["by"] == ALICE
    assert rows(desk)[-1][1]["outcome"] == "denied"
    assert (await asked("b", expire)).reason == "nobody approved this call in its time"
    assert (rows(desk)[-1][1]["outcome"], "by" in rows(desk)[-1][1]) == ("expired", False)
    changed = "the policy changed while this call waited for a person"
    assert (await asked("c", change)).reason == changed
    assert rows(desk)[-1][1]["outcome"] == "policy-changed"
    assert desk.tools.made == []


async def test_who_does_not_wait_is_told_what_to_do(desk: Desk) -> None:
    number(desk)
    answer = await desk.call("files/read", waits=False, text="hi")
    (pending,) = desk.approvals.waiting()
    reason = "a person must decide first; then call again"
    assert answer == Refusal("asked", reason, pending.id)
    assert rows(desk)[-1] == ended("asked", tool="files/read", approval=pending.id)
    lasts = pending.expires_at[:19], pending.asked_at[:19]
    assert lasts == ("2027-01-15T08:01:00", "2027-01-15T08:00:00"), "the policy's 60 s"


async def test_a_call_that_cannot_be_asked_is_on_record(desk: Desk) -> None:
    number(desk)
    for each in range(MAX_APPROVALS):
        question = Question("tools", "web/*", f"{each:064}", "p", None, "", None)
        desk.approvals.ask(question, 3600)
    answer = await desk.call("files/read", waits=False, text="hi")
    assert answer == Refusal("full", f"{MAX_APPROVALS} calls wait for a person already")
    assert rows(desk)[-1] == ended("not-asked", tool="files/read")


async def test_a_call_in_doubt_is_told_whole(desk: Desk) -> None:
    number(desk)
    desk.tools.answer = lambda: asyncio.Event().wait()
    task = asyncio.create_task(desk.call(text="hi"))
    await until(lambda: desk.tools.made)
    desk.begin()
    number(desk)
    desk.log.rows.clear()
    await desk.dispatcher.tell_left()
    left = {"call": "call-1", "tool": "web/echo", "outcome": "unknown", "trace": "t-1"}
    assert rows(desk) == [("tool.ended", left)]
    desk.dispatcher.set_policy(policy({"echo": ("web/echo", "allow")}))
    desk.tools.answer = None
    answer = await desk.call(text="hi")
    assert answer == Refusal(
        "outcome-unknown",
        "the outcome of this same call (call-1) is unknown: the gateway ended while it ran. It "
        "was not made again. Look at what it did; call once more to make it anew",
    )
    assert rows(desk)[-1] == ended("not-repeated")
    desk.begin()
    assert desk.dispatcher.journal.left.calls == {}, "the doubt is over for the next one, too"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_full_gateway_says_its_number(desk: Desk) -> None:
    tasks = [asyncio.create_task(desk.call("files/read", text=str(n))) for n in range(MAX_CALLS)]
    await until(lambda: len(desk.approvals.waiting()) == MAX_CALLS)
    wanted = Refusal("full", f"{MAX_CALLS} calls are on their way already")
    assert await desk.call(text="hi") == wanted
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_end_cancels_what_takes_too_long_and_leaves_it_in_doubt(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.agent.gateway.calls.dispatch._DRAIN_S", 0.01)
    desk.tools.answer = lambda: asyncio.Event().wait()
    task = asyncio.create_task(desk.call(text="hi"))
    await until(lambda: desk.tools.made)
    await desk.dispatcher.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    desk.begin()
    (left,) = desk.dispatcher.journal.left.calls.values()
    assert (left.tool, left.trace, left.at) == ("web/echo", "t-1", desk.times.now)


async def test_a_journal_that_fails_is_told_as_such(desk: Desk) -> None:
    desk.dispatcher.journal.close()
    answer = await desk.call(text="hi")
    reason = "the call cannot be put into the journal; not made"
    assert answer == Refusal("unreachable", reason)


REFUSED = Offered({name: tool(name) for name in ("web/echo", "files/read")})
BOTH = policy({"echo": ("web/*", "allow"), "read": ("files/read", "ask")})


@pytest.mark.parametrize(
    ("name", "args", "offered", "reason"),
    [
        ("web", {}, REFUSED, "this is no name of a tool"),
        ("web/other", {}, REFUSED, "no server offers this tool now"),
        (
            "web/echo",
            {},
            Offered(REFUSED.tools, frozenset({"web"})),
            "the server's tools changed, and nobody has looked at them yet",
        ),
        (
            "web/echo",
            {"x": 1},
            REFUSED,
            "not as the tool's schema says: additionalProperties at /",
        ),
        ("web/echo", {"text": 1}, REFUSED, "not as the tool's schema says: type at /text"),
        ("web/echo", {"text": {1}}, REFUSED, "the arguments are not JSON"),
        ("web/echo", {"text": "x" * 65_536}, REFUSED, "the arguments have more than 65536 bytes"),
        (
            "files/read",
            {"text": "x" * MAX_SHOWN},
            REFUSED,
            f"a person is asked, and sees at most {MAX_SHOWN} characters",
        ),
    ],
)
def test_why_a_call_is_refused(
    name: str, args: dict[str, Any], offered: Offered, reason: str
) -> None:
    found = judge(BOTH, offered, name, args)
    assert (found.reason, found.tool, found.rule) == (reason, None, None)


def test_arguments_at_the_deepest_are_taken() -> None:
    loose = Offered({"web/echo": tool("web/echo", {"type": "object"})})
    for depth, wanted in ((30, "it is about web/*"), (31, "the arguments are deeper than 32")):
        value: object = "x"
        for _ in range(depth):
            value = [value]
        assert judge(BOTH, loose, "web/echo", {"text": value}).reason == wanted


NOT_VALID = "'none' is not valid under any of the given schemas"
NO_PATTERN = "its schema has a pattern that RE2 does not know"
BOTH_KEYS = "its schema has both patternProperties and unevaluatedProperties"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "none"}, f"its schema is none: {NOT_VALID}"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, NO_PATTERN),
        ({"a": [{"patternProperties": {"(": {}}}]}, NO_PATTERN),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, BOTH_KEYS),
        ({"description": "x" * 65_536}, "its schema is larger than 65536 bytes"),
        ({"a": {1, 2}}, "its schema cannot be read"),
    ],
)
def test_why_a_schema_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSchemaError) as caught:
        Checker(schema)
    assert str(caught.value) == said


def test_a_schema_at_its_limits_is_taken() -> None:
    room = 65_536 - len('{"description":""}')
    assert Checker({"description": "x" * room}).fault({}) == ""
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(15):
        deep = {"properties": {"a": deep}}
    assert Checker(deep).fault({}) == ""


def test_a_pattern_that_is_refused_writes_nothing_to_the_log_of_the_library(capfd: Any) -> None:
    with pytest.raises(BadSchemaError):
        Checker({"pattern": "("})
    assert capfd.readouterr() == ("", "")


ADDITIONAL = "not as the tool's schema says: additionalProperties at /"


def test_properties_that_no_pattern_knows_are_told_from_those_that_one_does() -> None:
    """A mapping that is none is no fault of these keywords; each key is looked at."""
    closed = Checker(
        {
            "properties": {"known": {}},
            "patternProperties": {"^n_": {"type": "integer"}, "_s$": {"type": "string"}},
            "additionalProperties": False,
        }
    )
    for good in ({}, {"known": 1}, {"n_a": 1}, {"a_s": "x"}, {"known": 1, "n_a": 2, "b_s": ""}, 7):
        assert closed.fault(good) == ""
    assert closed.fault({"n_a": 1, "other": 1}) == ADDITIONAL
    assert closed.fault({"n_a": "x"}) == "not as the tool's schema says: type at /n_a"
    assert closed.fault({"n_s": 1}) == "not as the tool's schema says: type at /n_s"
    typed = Checker({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}})
    assert typed.fault({"a": "x", "b": 1}) == ""
    assert typed.fault({"a": "x", "b": "y"}) == "not as the tool's schema says: type at /b"
    assert Checker({"additionalProperties": True}).fault({"x": 1}) == ""
    assert Checker({"pattern": "x"}).fault(7) == ""
    assert Checker({"pattern": "x"}).fault("y") == "not as the tool's schema says: pattern at /"


def chain(references: int) -> Checker:
    names = {f"n{each}": {"$ref": f"#/$defs/n{each + 1}"} for each in range(references - 1)}
    last = {f"n{references - 1}": {"type": "integer"}}
    return Checker({"$defs": {**names, **last}, "items": {"$ref": "#/$defs/n0"}})


def test_references_are_counted_for_each_validation_alone() -> None:
    checker = chain(5)  # five references an entry
    assert checker.fault([1] * 100) == "", "500 may be followed"
    assert checker.fault([1] * 101) == "its schema refers to itself without end"
    assert checker.fault([1] * 100) == "", "and again"
    assert checker.fault(["x"]) == "not as the tool's schema says: type at /0"


def test_a_place_is_shown_in_ascii_and_short() -> None:
    checker = Checker({"additionalProperties": {"type": "integer"}})
    assert checker.fault({"ä": "x"}) == r"not as the tool's schema says: type at /\xe4"
    long = checker.fault({"k" * 100: "x"})
    assert long == f"not as the tool's schema says: type at /{'k' * 40}"


def test_why_a_tool_is_left_out() -> None:
    def offer(name: str, **more: Any) -> ToolOffer:
        return ToolOffer(name, "text", {"type": "object"}, **more)

    bad = ToolOffer("bad", "", {"type": "none"})
    tools, refused = usable(
        "web", [offer("a b"), offer("Read"), offer("read"), bad, offer("ok", output_schema={})]
    )
    assert refused == (
        "a tool has a name that is none",
        "Read: another tool has a name that looks like it",
        "read: another tool has a name that looks like it",
        f"bad: its schema is none: {NOT_VALID}",
    )
    (found,) = tools
    assert (found.server, found.name, found.description) == ("web", "ok", "text")
    assert (found.full, found.public) == ("web/ok", "web__ok")
    assert found.output is not None
    assert found.arguments.fault({}) == ""
    assert found.arguments.fault([]) != ""


def test_what_is_readable_of_a_text() -> None:
    assert readable("x" * MAX_DESCRIPTION) == "x" * MAX_DESCRIPTION
    assert readable("a\tb\nc") == "a\tb\nc"
    assert readable("abc", 2) == "ab [cut]"


def test_images_together_have_a_size_and_a_number() -> None:
    def blocks(*sizes: int) -> tuple[list[int], bool]:
        media = tuple(Block("image", "a" * size, "image/png") for size in sizes)
        told = finish(
            Raw((Block("text", "t"), *media), None, failed=False), "w/e", Redactor(()), "1"
        )
        return [len(each.data) for each in told.blocks[1:]], told.cut

    half = MAX_MEDIA // 2
    assert blocks(half, half) == ([half, half], False)
    assert blocks(half, half, 1) == ([half, half], True)
    assert blocks(half + 1, half, 5) == ([half + 1, 5], True), "one that fits comes after"
    assert blocks(*[1] * MAX_BLOCKS) == ([1] * MAX_BLOCKS, False)
    assert blocks(*[1] * (MAX_BLOCKS + 1)) == ([1] * MAX_BLOCKS, True)
