"""Changes of a Gosuto, over a real store: planned, approved as planned, kept for ever."""

from __future__ import annotations

import json

import pytest
from desk import ALICE, BOB
from gosuto_front import MAKE, GosutoFront
from sqlalchemy import text

from agency.canonical import sha256_hex
from agency.control.execution.result import RefusalError
from agency.control.policy import ApprovalRule, People, Policy
from agency.control.store import audit, gosuto

GATED = Policy(People(frozenset({ALICE, BOB})))


@pytest.fixture
def front(desk):
    return GosutoFront(desk, GATED)


async def test_a_set_waits_for_another_person_who_sees_every_field(front):
    prompt = await front.say(MAKE)
    assert "needs an approval, by the rule gosuto-changes" in prompt
    assert "The Gosuto of pm has none now; after it, it is version 1 (sha256:" in prompt
    assert '+ gateways.timer.schedule: "0 7 * * 1-5"' in prompt
    assert "is not enforced yet" not in prompt
    assert await front.versions() == []
    assert "who asked for it" in await front.approve(prompt, ALICE)
    answer = await front.approve(prompt)
    assert answer.startswith("pm has version 1 of its Gosuto, by the template cron-agent")
    (version,) = await front.versions()
    assert (version.number, version.author) == (1, ALICE)
    assert version.sha256 == sha256_hex(version.document.encode())
    assert f"sha256:{version.sha256}" in prompt
    assert version.created_ts == front.desk.clock.now_ms()
    rows = await front.desk.database.read(lambda c: audit.by_trace(c, version.trace, 10))
    assert [row.outcome for row in rows] == ["waiting", "granted", "accepted", "done"]
    told = json.loads(rows[-1].detail)
    assert (told["version"], told["sha256"], told.get("before")) == (1, version.sha256, None)


async def test_a_change_is_shown_by_its_fields_alone(front):
    await front.change(MAKE)
    prompt = await front.say(
        "!agency gosuto set pm limits.eventsPerMinute=3 persona.prompt=Hm", BOB
    )
    shown = [line for line in prompt.splitlines() if line[:2] in ("+ ", "- ", "~ ")]
    assert shown == [
        "~ limits.eventsPerMinute: 10 -> 3",
        '~ persona.prompt: "You are pm. Be brief, and say what you did." -> "Hm"',
    ]
    assert "version 2" in await front.approve(prompt, ALICE)
    diff = await front.say("!agency gosuto diff pm")
    assert "From version 1 to version 2 of pm:" in diff
    assert "~ limits.eventsPerMinute: 10 -> 3" in diff


async def test_an_edit_warns_of_what_it_changes(front):
    await front.change(MAKE)
    prompt = await front.say(
        '!agency gosuto set pm "secrets={\\"model-key\\":{}}" persona.apiKey=model-key', BOB
    )
    warned = [line for line in prompt.splitlines() if "is not enforced" in line]
    assert [line.partition(" ")[0] for line in warned] == [
        "secrets",
        "persona.apiKey",
    ]
    own = '{\\"type\\":\\"program\\",\\"command\\":[\\"x\\"]}'
    prompt = await front.say(f'!agency gosuto set pm "gateways.own={own}"', BOB)
    warned = [line for line in prompt.splitlines() if "is not enforced yet" in line]
    assert [line.partition(" ")[0] for line in warned] == ["gateways.own.command"]
    prompt = await front.say("!agency gosuto set pm trust.senders+=@carol:agency.example", BOB)
    assert "trust.senders" in prompt
    assert "is not enforced yet" not in prompt
    rule = '{\\"tool\\":\\"builtin/x\\",\\"answer\\":\\"deny\\"}'
    prompt = await front.say(f'!agency gosuto set pm "capabilities.more={rule}"', BOB)
    assert "capabilities.more" in prompt
    assert "is not enforced yet" not in prompt


async def test_who_sets_events_that_nothing_takes_is_told_before_and_after(front):
    def warned(said):
        lines = [line for line in said.splitlines() if line.startswith("Warning: ")]
        return [line.split()[1] for line in lines if "is not enforced yet" in line]

    done = await front.change(MAKE)
    assert "version 1" in done
    assert warned(done) == [], "a timer is taken"
    own = '{\\"type\\":\\"program\\",\\"command\\":[\\"x\\"]}'
    hook = '{\\"type\\":\\"webhook\\",\\"secret\\":\\"hook-key\\"}'
    fields = f'"secrets={{\\"hook-key\\":{{}}}}" "gateways.own={own}" "gateways.hook={hook}"'
    named = ["gateways.hook.secret", "gateways.own.command", "secrets"]
    assert sorted(warned(await front.say(f"!agency gosuto validate pm {fields}"))) == named
    prompt = await front.say(f"!agency gosuto set pm {fields}", BOB)
    assert all(f"{each} is not enforced yet: the agent " in prompt for each in named)
    done = await front.approve(prompt, ALICE)
    assert "version 2" in done
    assert sorted(warned(done)) == named
    done = await front.change("!agency gosuto set pm limits.eventsPerMinute=4")
    assert "version 3" in done
    assert warned(done) == [], "what this change is not about is not told again"
    assert sorted(warned(await front.change("!agency gosuto rollback pm 1"))) == [], "it is gone"
    assert sorted(warned(await front.change("!agency gosuto rollback pm 2"))) == named


async def test_a_difference_that_is_too_long_for_a_prompt_is_in_approvals_show(front):
    await front.change(MAKE)
    many = " ".join(
        f'"capabilities.rule-{number}={{\\"tool\\":\\"builtin/tool-{number}\\",'
        '\\"answer\\":\\"deny\\"}"'
        for number in range(45)
    )
    prompt = await front.say(f"!agency gosuto set pm {many}")
    assert "more: !agency approvals show op-" in prompt
    assert "[cut]" not in prompt
    assert "rule-9." not in prompt
    assert "react there with" in prompt
    assert len(prompt.encode()) <= 4000
    shown = await front.say(f"!agency approvals show {prompt.split()[1][:9]}", BOB)
    for number in range(45):
        assert f'+ capabilities.rule-{number}.tool: "builtin/tool-{number}"' in shown


async def test_a_value_that_is_too_long_for_a_prompt_is_in_approvals_show(front):
    await front.change(MAKE)
    words = "a b " * 400 + "the end"
    prompt = await front.say(f'!agency gosuto set pm "persona.prompt={words}"')
    asks, _, planned = prompt.partition("The Gosuto of pm")
    assert "the end" not in asks + planned
    assert "characters: !agency approvals show op-" in planned
    assert "... (whole: !agency approvals show op-" in asks
    shown = await front.say(f"!agency approvals show {prompt.split()[1][:9]}", BOB)
    assert f'-> "{words}"' in shown


async def test_two_planned_on_one_version_only_the_first_is_made(front):
    await front.change(MAKE)
    first = await front.say("!agency gosuto set pm limits.eventsPerMinute=3")
    second = await front.say("!agency gosuto set pm persona.prompt=Hm", BOB)
    assert "version 2" in await front.approve(first)
    refused = await front.approve(second, ALICE)
    assert "is not as it was when the approval was asked for" in refused
    assert [each.number for each in await front.versions()] == [2, 1]
    again = await front.change("!agency gosuto set pm persona.prompt=Hm", BOB, ALICE)
    assert "version 3" in again


async def test_a_whole_document_is_held_to_the_version_that_people_saw_it_replace(front):
    """It would be the same whatever it replaces; the difference that was approved would not."""
    await front.change(MAKE)
    whole = await front.say(MAKE.replace("Sum it up", "Sum it all up"))
    await front.change("!agency gosuto set pm capabilities.write-to-room.answer=deny", BOB, ALICE)
    assert "is not as it was when the approval was asked for" in await front.approve(whole)
    assert len(await front.versions()) == 2


async def test_an_approval_holds_for_the_digest_that_was_shown(front, monkeypatch):
    """The same words make another document by now, as after an upgrade of a template."""
    await front.change(MAKE)
    prompt = await front.say("!agency gosuto set pm limits.eventsPerMinute=3")
    from agency.control.gosuto import planning

    real = planning.edit
    monkeypatch.setattr(
        planning, "edit", lambda document, words: real(document, [*words, "persona.prompt=evil"])
    )
    assert "is not as it was" in await front.approve(prompt)
    assert len(await front.versions()) == 1


@pytest.mark.parametrize("on", [1, 3])
async def test_without_an_approval_the_version_is_held_to_as_well(front, on):
    await front.change(MAKE)
    await front.change("!agency gosuto set pm limits.eventsPerMinute=3")
    said = await front.say(f"!agency gosuto set pm persona.prompt=Hm --on={on}")
    assert f"planned on version {on}, and pm is at version 2" in said
    assert "needs an approval" in await front.say("!agency gosuto set pm persona.prompt=Hm --on=2")


async def test_a_rollback_makes_a_new_version_and_loses_none(front):
    await front.change(MAKE)
    await front.change("!agency gosuto set pm limits.eventsPerMinute=3")
    prompt = await front.say("!agency gosuto rollback pm 1")
    assert "~ limits.eventsPerMinute: 3 -> 10" in prompt
    assert "version 3" in await front.approve(prompt)
    third, second, first = await front.versions()
    assert third.document == first.document != second.document
    assert third.made_by == "a rollback to version 1"
    assert "Nothing would change" in await front.say("!agency gosuto rollback pm 1")
    assert "has no version 9" in await front.say("!agency gosuto rollback pm 9")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("set pm limits.eventsPerMinute=3", "has no Gosuto yet"),
        ("set nobody --template pm", "no agent nobody"),
        ("set pm --template none", "no template 'none'"),
        ("set pm --template cron-agent task=x", "needs room"),
        ("set pm --template cron-agent colour=red", "no variable 'colour'"),
        (f"set pm --document sha256:{'0' * 64}", "is not here"),
        (f"set pm a=b --document sha256:{'0' * 64}", "is complete"),
        ("rollback pm 1", "has no version 1"),
        ("show pm", "has no Gosuto yet"),
        ("show pm 3", "has no version 3"),
        ("diff pm", "has no Gosuto yet"),
        ("explain pm web/fetch", "has no Gosuto yet"),
        ("push pm", "has no Gosuto yet"),
        ("show nobody", "no agent nobody"),
        ("set pm nonsense", "is not NAME=VALUE"),
        ("set pm --document sha256:abc", "not the digest"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_anybody_is_asked(front, command, said):
    answer = await front.say(f"!agency gosuto {command}")
    assert said.lower() in answer.lower()
    assert "needs an approval" not in answer
    assert await front.versions() == []


async def test_an_invalid_edit_names_the_field(front):
    await front.change(MAKE)
    answer = await front.say("!agency gosuto set pm limits.eventsPerMinute=many trust.senders+=bob")
    assert "limits.eventsPerMinute: must be a whole number" in answer
    assert "full Matrix id" in answer


async def test_the_document_of_another_agent_is_refused(front):
    await front.change(MAKE)
    answer = await front.say("!agency gosuto set pm metadata.name=other")
    assert "The document is for other, not for pm" in answer


async def test_looks_say_what_is_there(front):
    await front.change(MAKE)
    shown = await front.say("!agency gosuto show pm")
    assert "pm, version 1, sha256:" in shown
    assert "schedule: 0 7 * * 1-5" in shown
    listed = await front.say("!agency gosuto versions pm")
    assert "pm has one version:" in listed
    assert ALICE in listed
    assert "has no Gosuto yet" in await front.say("!agency gosuto versions developer")
    said = await front.say("!agency gosuto validate pm limits.eventsPerMinute=3")
    assert said.startswith("Valid. The Gosuto of pm is at version 1 now")
    assert "~ limits.eventsPerMinute: 10 -> 3" in said
    assert "nothing would change" in await front.say("!agency gosuto validate pm")
    assert "must be a whole number" in await front.say(
        "!agency gosuto validate pm limits.eventsPerMinute=x"
    )
    assert len(await front.versions()) == 1


async def test_explain_says_the_answer_and_the_rule(front):
    await front.change(MAKE)
    tool = "!agency gosuto explain pm builtin/send-message"
    assert "allow, by the rule write-to-room: every condition holds (version 1)" in (
        await front.say(f"{tool} target=reports")
    )
    assert "allow, by the rule" in await front.say(f"""{tool} '{{"target": "reports"}}'""")
    assert "deny, by the rule write-to-room: target is missing" in await front.say(tool)
    assert "deny: no rule allows it" in await front.say("!agency gosuto explain pm web/fetch url=x")
    assert "not JSON" in await front.say(f"""{tool} '{{"a": 1, "a": 2}}'""")
    assert "given twice" in await front.say(f"{tool} target=a target=b")


async def test_push_delivers_the_bytes_of_the_newest_version(front):
    await front.change(MAKE)
    assert "pm holds version 1" in await front.say("!agency gosuto push pm")
    assert "pm held already version 1" in await front.say("!agency gosuto push pm")
    (version,) = await front.versions()
    assert front.port.taken[0] == ("pm", version.document.encode())
    front.port.refusal = RefusalError("pm does not run")
    assert "pm does not run" in await front.say("!agency gosuto push pm")


async def test_bytes_that_were_changed_in_the_store_are_used_for_nothing(front):
    await front.change(MAKE)
    (version,) = await front.versions()
    await front.set_column("document", version.document.replace("Sum it up", "Sum it Up"))
    for command in ("show pm", "push pm", "explain pm web/fetch", "set pm persona.prompt=x"):
        assert "do not have the digest" in await front.say(f"!agency gosuto {command}")
    assert front.port.taken == []


async def test_a_version_is_stored_once_and_never_again(front):
    await front.change(MAKE)
    (version,) = await front.versions()
    with pytest.raises(Exception, match="UNIQUE"):
        await front.desk.database.write(lambda c: gosuto.add(c, version))
    count = text("SELECT count(*) FROM gosuto_versions")
    assert await front.desk.database.read(lambda c: c.scalar(count)) == 1


async def test_a_rule_of_the_instance_takes_the_place_of_the_usual_one(desk):
    rule = ApprovalRule("two", frozenset({"gosuto set"}), quorum=2)
    front = GosutoFront(desk, Policy(People(frozenset({ALICE, BOB, "@carol:x.org"})), (rule,)))
    prompt = await front.say(MAKE)
    assert "by the rule two" in prompt
    assert "1 more must" in await front.approve(prompt)
    assert "version 1" in await front.approve(prompt, "@carol:x.org")


async def test_where_nobody_can_approve_it_is_refused(desk):
    front = GosutoFront(desk, Policy(People(frozenset({ALICE}))))
    assert "Name more operators or approvers" in await front.say(MAKE)
    assert await front.versions() == []
