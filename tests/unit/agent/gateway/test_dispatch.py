"""The one way to a tool: what is made, what is refused, what is on record, what survives an end."""

import asyncio
import json

import pytest
from gateway_desk import ALICE, Desk, decision, policy, tool, until, waiting

from agency.agent.gateway.calls.dispatch import (
    MAX_CALLS,
    Refusal,
    ServerAwayError,
    ServerGoneError,
)
from agency.agent.gateway.calls.results import Block, Raw, Result
from agency.agent.programs import gateway_tools
from agency.secrets import SecretValue
from agency.workspace.audit.watch.tallies import is_denial


async def test_an_allowed_call_is_made_once_and_recorded_before_and_after(desk: Desk) -> None:
    answer = await desk.call(text="hi")
    assert isinstance(answer, Result)
    assert not answer.failed
    assert '<<<data MARK>>>\n{"text": "hi"}\n<<<end MARK>>>' in answer.text
    assert desk.tools.made == [("web/echo", {"text": "hi"})]
    assert desk.log.events == ["tool.decided", "tool.ended"]
    decided, ended = desk.log.rows[0][1], desk.log.rows[1][1]
    assert (decided["decision"], decided["rule"], decided["tool"]) == ("allow", "echo", "web/echo")
    assert (decided["trace"], decided["caller"]) == ("t-1", "program")
    assert decided["policy"] == desk.dispatcher.policy.sha256
    assert (ended["outcome"], ended["call"]) == ("done", decided["call"])
    assert ended["duration_ms"] == 0
    assert len(decided["arguments"]) == 64


async def test_no_row_holds_an_argument_or_a_result(desk: Desk) -> None:
    await desk.call(text="very-private-text")
    await desk.call("web/very-private-name", text="very-private-text")
    await desk.call("very-private name", text="very-private-text")
    told = json.dumps(desk.log.rows)
    assert "private-text" not in told
    assert "very-private name" not in told
    assert "web/very-private-name" in told  # a name of the right form is no argument
    assert "very-private-text" not in (desk.place / "calls.jsonl").read_text()


async def test_a_refused_call_is_recorded_and_not_made(desk: Desk) -> None:
    answer = await desk.call("web/erase", text="hi")
    assert answer == Refusal("policy", "refused: no rule allows it")
    assert desk.tools.made == []
    assert desk.log.events == ["tool.decided"]
    assert (desk.log.last["decision"], desk.log.last["why"]) == ("deny", "policy")


async def test_the_alerts_count_the_rows_of_refused_calls(desk: Desk) -> None:
    """Rows of the gateway and what is counted of them are written in two packages."""
    await desk.call(text="hi")
    await desk.call("web/erase", text="hi")
    await desk.call("web/EcHo", text="hi")
    denials = [detail for event, detail in desk.log.rows if is_denial(event, detail)]
    assert [detail["tool"] for detail in denials] == ["web/erase", "web/EcHo"]


async def test_the_rule_that_refuses_is_named(desk: Desk) -> None:
    desk.dispatcher.set_policy(policy({"echo": ("web/echo", "allow"), "never": ("web/*", "deny")}))
    answer = await desk.call(text="hi")
    assert answer.reason == "refused (rule never): it is about web/*"
    assert desk.log.last["rule"] == "never"


@pytest.mark.parametrize("rules", [None, {}])
async def test_without_a_policy_or_a_rule_there_are_no_calls(desk: Desk, rules) -> None:
    desk.dispatcher.set_policy(None if rules is None else policy(rules))
    assert isinstance(await desk.call(text="hi"), Refusal)
    assert desk.dispatcher.listed() == ()
    assert desk.tools.made == []


async def test_without_its_record_no_call_is_made(desk: Desk) -> None:
    desk.log.leave()
    answer = await desk.call(text="hi")
    assert (answer.code, desk.tools.made) == ("unreachable", [])
    assert "on record" in answer.reason
    desk.log.away = None
    assert isinstance(await desk.call(text="hi"), Result)


async def test_a_row_that_is_owed_is_written_before_the_next_call(desk: Desk) -> None:
    desk.tools.answer = lambda: (desk.log.leave(), Raw((), None, failed=False))[1]
    assert isinstance(await desk.call(text="one"), Result)
    assert desk.log.events == ["tool.decided"]
    assert (await desk.call(text="two")).code == "unreachable"
    desk.log.away, desk.tools.answer = None, None
    await desk.call(text="three")
    assert desk.log.events == ["tool.decided", "tool.ended", "tool.decided", "tool.ended"]
    assert len(desk.tools.made) == 2


async def test_arguments_are_validated_before_the_server_sees_them(desk: Desk) -> None:
    for args in ({"text": 1}, {"other": "x"}, {"text": "x" * 70_000}):
        answer = await desk.call(**args)
        assert answer.code == "policy", args
        assert desk.log.last["why"] == "arguments"
    assert desk.tools.made == []
    assert isinstance(await desk.call(text="x"), Result)


async def test_a_server_that_is_away_was_not_called(desk: Desk) -> None:
    def away() -> Raw:
        raise ServerAwayError("the server web is not there now")

    desk.tools.answer = away
    answer = await desk.call(text="hi")
    assert answer == Refusal("unreachable", "the server web is not there now")
    assert desk.log.last["outcome"] == "not-made"


async def test_a_server_that_ended_leaves_the_outcome_unknown(desk: Desk) -> None:
    def gone() -> Raw:
        raise ServerGoneError("the server ended during the call")

    desk.tools.answer = gone
    answer = await desk.call(text="hi")
    assert answer.code == "outcome-unknown"
    assert desk.log.last["outcome"] == "unknown"
    desk.tools.answer = None
    desk.begin()  # it was told already: no doubt is left
    await desk.dispatcher.tell_left()
    desk.dispatcher.set_policy(policy({"echo": ("web/echo", "allow")}))
    assert isinstance(await desk.call(text="hi"), Result)


async def test_a_result_against_the_tools_own_schema_is_a_failure(desk: Desk) -> None:
    output = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    desk.tools.tools["web/echo"] = tool("web/echo", output=output)
    for structured, failed in (({"n": "x"}, True), (None, True), ({"n": 1}, False)):
        desk.tools.answer = lambda it=structured: Raw((Block("text", "lie"),), it, failed=False)
        answer = await desk.call(text="hi")
        assert answer.failed is failed
        assert ("lie" in answer.text) is not failed
    desk.tools.answer = lambda: Raw((Block("text", "why"),), None, failed=True)
    assert "why" in (await desk.call(text="hi")).text  # a failure has no such schema


async def test_an_asked_call_waits_and_is_made_after_the_approval(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    assert (asked.tool, asked.rule, asked.shown) == ("files/read", "read", '{"text": "a"}')
    assert desk.tools.made == []
    desk.approvals.decide(asked.id, decision(asked.digest))
    assert isinstance(await task, Result)
    assert desk.tools.made == [("files/read", {"text": "a"})]
    assert desk.log.events == ["tool.decided", "tool.approved", "tool.ended"]
    assert desk.log.rows[1][1]["by"] == ALICE


async def test_an_approval_is_used_once(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    desk.approvals.decide(asked.id, decision(asked.digest))
    await task
    again = await desk.call("files/read", waits=False, text="a")
    assert again.code == "asked"
    assert again.approval != asked.id
    assert len(desk.tools.made) == 1


async def test_two_same_calls_at_once_need_two_approvals(desk: Desk) -> None:
    first = asyncio.create_task(desk.call("files/read", text="a"))
    await waiting(desk)
    second = asyncio.create_task(desk.call("files/read", text="a"))
    await until(lambda: len(desk.approvals.waiting()) == 2)
    for each in desk.approvals.waiting():
        desk.approvals.decide(each.id, decision(each.digest))
    await asyncio.gather(first, second)
    assert len(desk.tools.made) == 2


async def test_a_denied_call_is_not_made_nor_asked_again(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    desk.approvals.decide(asked.id, decision(asked.digest, "deny"))
    assert (await task).reason == "a person denied this call"
    assert (await desk.call("files/read", text="a")).reason == "a person denied this call"
    assert desk.approvals.waiting() == ()
    assert desk.tools.made == []
    assert desk.log.last["outcome"] == "denied"
    other = await desk.call("files/read", waits=False, text="b")
    assert other.code == "asked"


async def test_an_approval_that_nobody_gives_expires(desk: Desk) -> None:
    asked = await desk.call("files/read", waits=False, text="a")
    desk.times.pass_(59.9)
    assert desk.approvals.outcome(asked.approval) is None
    desk.times.pass_(0.2)
    assert desk.approvals.outcome(asked.approval) == "expired"
    again = await desk.call("files/read", waits=False, text="a")
    assert again.approval != asked.approval


async def test_who_does_not_wait_calls_again_after_the_decision(desk: Desk) -> None:
    asked = await desk.call("files/read", waits=False, text="a")
    (pending,) = desk.approvals.waiting()
    assert (asked.code, asked.approval) == ("asked", pending.id)
    assert desk.log.last["outcome"] == "asked"
    desk.approvals.decide(pending.id, decision(pending.digest))
    other = await desk.call("files/read", waits=False, text="b")
    assert other.code == "asked"
    assert isinstance(await desk.call("files/read", waits=False, text="a"), Result)
    assert desk.tools.made == [("files/read", {"text": "a"})]


async def test_an_approval_of_another_policy_counts_no_more(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    desk.approvals.decide(asked.id, decision(asked.digest))
    desk.dispatcher.set_policy(policy({"read": ("files/*", "ask")}))
    answer = await task
    assert isinstance(answer, Refusal)
    assert desk.tools.made == []
    assert desk.approvals.waiting() == ()


async def test_a_policy_that_changes_while_a_person_thinks_ends_the_wait(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    await waiting(desk)
    desk.dispatcher.set_policy(policy({"read": ("files/read", "deny")}))
    assert (await task).reason == "the policy changed while this call waited for a person"
    assert desk.log.last["outcome"] == "policy-changed"


async def test_no_policy_at_the_end_of_the_wait_is_no_call(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    desk.dispatcher.set_policy(None)
    desk.approvals.decide(asked.id, decision(asked.digest))
    assert isinstance(await task, Refusal)
    assert desk.tools.made == []


async def test_a_caller_that_goes_away_makes_no_call_later(desk: Desk) -> None:
    task = asyncio.create_task(desk.call("files/read", text="a"))
    asked = await waiting(desk)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    desk.approvals.decide(asked.id, decision(asked.digest))
    await asyncio.sleep(0.01)
    assert desk.tools.made == []
    # It comes back, and takes up the approval that was given meanwhile.
    assert isinstance(await desk.call("files/read", text="a"), Result)
    assert len(desk.tools.made) == 1


async def test_a_call_that_was_begun_goes_on_when_its_caller_goes_away(desk: Desk) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow() -> Raw:
        begun.set()
        await end.wait()
        return Raw((), None, failed=False)

    desk.tools.answer = slow
    task = asyncio.create_task(desk.call(text="a"))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    end.set()
    await until(lambda: desk.log.events[-1] == "tool.ended")
    assert desk.log.last["outcome"] == "done"


async def test_a_call_in_flight_at_an_end_is_told_once_and_not_repeated_silently(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()

    async def never() -> Raw:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    desk.tools.answer = never
    task = asyncio.create_task(desk.call(text="a"))
    await begun.wait()
    desk.begin()  # as after kill -9: nothing of the old one wrote an end
    desk.tools.answer = None
    (left,) = desk.log.rows
    desk.log.rows.clear()
    await desk.dispatcher.tell_left()
    assert (desk.log.events, desk.log.last["outcome"]) == (["tool.ended"], "unknown")
    (warned,) = [each.fields for each in caplog.records if "in flight" in each.message]
    assert warned == {key: left[1][key] for key in ("call", "tool", "trace")}
    desk.dispatcher.set_policy(policy({"echo": ("web/echo", "allow")}))
    made = len(desk.tools.made)
    assert isinstance(await desk.call(text="b"), Result)  # another call is not in doubt
    doubt = await desk.call(text="a")
    assert doubt.code == "outcome-unknown"
    assert len(desk.tools.made) == made + 1
    assert isinstance(await desk.call(text="a"), Result)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_equal_calls_in_flight_at_an_end_are_told_together_and_at_no_later_start(
    desk: Desk, number: int
) -> None:
    desk.tools.answer = lambda: asyncio.Event().wait()
    rules = policy({"echo": ("web/echo", "allow")})
    desk.dispatcher.set_policy(rules)
    calls = [asyncio.create_task(desk.call(text="a")) for _ in range(number)]
    await until(lambda: len(desk.tools.made) == number)
    desk.tools.answer = None
    answers = []
    for _ in range(3):
        desk.begin()  # as after kill -9
        desk.dispatcher.set_policy(rules)
        await desk.dispatcher.tell_left()
        answers.append([await desk.call(text="a") for _ in range(2)])
    assert answers[0][0].code == "outcome-unknown"
    assert (f"under way {number} times" in answers[0][0].reason) == (number > 1)
    later = [answers[0][1], *answers[1], *answers[2]]
    assert [type(each) for each in later] == [Result] * 5
    assert len(desk.tools.made) == number + 5
    assert desk.log.events.count("tool.ended") == number + 6, "each doubt has its row"
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_doubt_is_put_on_record_once_over_many_restarts(desk: Desk) -> None:
    desk.tools.answer = lambda: asyncio.Event().wait()
    task = asyncio.create_task(desk.call(text="a"))
    await until(lambda: desk.tools.made)
    desk.log.rows.clear()
    for _ in range(3):
        desk.begin()
        await desk.dispatcher.tell_left()
    assert desk.log.events == ["tool.ended"]
    desk.dispatcher.set_policy(policy({"echo": ("web/echo", "allow")}))
    assert (await desk.call(text="a")).code == "outcome-unknown"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_approvals_survive_an_end_pending_and_given(desk: Desk) -> None:
    for text in ("a", "b", "c"):
        await desk.call("files/read", waits=False, text=text)
    first, second, _ = desk.approvals.waiting()
    desk.approvals.decide(first.id, decision(first.digest))
    desk.approvals.decide(second.id, decision(second.digest, "deny"))
    kept = desk.dispatcher.policy
    desk.begin()
    desk.dispatcher.set_policy(kept)
    (left,) = desk.approvals.waiting()
    assert left.shown == '{"text": "c"}'
    assert isinstance(await desk.call("files/read", waits=False, text="a"), Result)
    assert (await desk.call("files/read", waits=False, text="b")).code == "policy"
    desk.begin()
    desk.dispatcher.set_policy(kept)
    # The used one does not come back.
    assert (await desk.call("files/read", waits=False, text="a")).code == "asked"


async def test_a_journal_that_cannot_be_written_means_no_call(desk: Desk) -> None:
    desk.dispatcher.journal.close()
    answer = await desk.call(text="a")
    assert (answer.code, desk.tools.made) == ("unreachable", [])


async def test_held_secrets_are_struck_out_of_results_and_questions(desk: Desk) -> None:
    desk.tools.secrets = (SecretValue("hunter2-hunter2"),)
    answer = await desk.call(text="it is hunter2-hunter2")
    assert "hunter2" not in answer.text
    await desk.call("files/read", waits=False, text="it is hunter2-hunter2")
    (asked,) = desk.approvals.waiting()
    assert "hunter2" not in asked.shown
    assert "hunter2" not in (desk.place / "calls.jsonl").read_text()


async def test_calls_at_once_have_a_bound(desk: Desk) -> None:
    tasks = [asyncio.create_task(desk.call("files/read", text=str(n))) for n in range(MAX_CALLS)]
    await until(lambda: len(desk.approvals.waiting()) == MAX_CALLS)
    assert (await desk.call(text="one more")).code == "full"
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(await desk.call(text="one more"), Result)


async def test_a_program_is_offered_tools_after_a_bounded_wait_for_servers(desk: Desk) -> None:
    assert [each.full for each in await desk.dispatcher.offer()] == ["files/read", "web/echo"]
    (waited_s,) = desk.tools.waited_s
    assert 0 < waited_s < gateway_tools._LIST_S, "as long as a program waits for the list"


async def test_a_cut_off_server_is_neither_listed_nor_called(desk: Desk) -> None:
    assert [each.full for each in desk.dispatcher.listed()] == ["files/read", "web/echo"]
    desk.tools.cut_off = frozenset({"web"})
    assert [each.full for each in desk.dispatcher.listed()] == ["files/read"]
    await desk.call(text="a")
    assert (desk.log.last["why"], desk.tools.made) == ("cut-off", [])


async def test_the_end_waits_for_calls_at_hand(desk: Desk) -> None:
    end = asyncio.Event()

    async def slow() -> Raw:
        await end.wait()
        return Raw((), None, failed=False)

    desk.tools.answer = slow
    task = asyncio.create_task(desk.call(text="a"))
    await until(lambda: desk.tools.made)
    closing = asyncio.create_task(desk.dispatcher.close())
    await asyncio.sleep(0)
    end.set()
    await closing
    assert isinstance(await task, Result)
