"""Script of a scripted model: what follows from a conversation, and which files are none."""

from __future__ import annotations

import json

import pytest

from agency.agent.models.chat_completions import ChatCompletions
from agency.agent.models.conversation import (
    AssistantMessage,
    ModelRequest,
    ToolCall,
    ToolDefinition,
    ToolResult,
    UserMessage,
)
from agency.agent.models.sse import SseDecoder
from agency.agent.programs.tools import as_data
from agency.agent.scripted.script import (
    Step,
    Talk,
    core,
    load_script,
    next_step,
    read_script,
    script_names,
)
from agency.agent.scripted.wire import answer, events, offered_name, read_talk
from agency.errors import BadInputError, UsageError
from agency.gosuto import load_template, may_be_called, template_names

SCRIPT = read_script(
    "test",
    b"""\
scripted: v1
rules:
  - when: 'look at (?P<page>\\S+)'
    steps:
      - {call: browser/navigate, arguments: {url: "${page}", options: {deep: ["${page}", 1]}}}
      - {say: "There is: ${result}"}
  - steps: [{say: "What about ${task}, ${nobody}?"}]
""",
)


def test_the_first_rule_whose_pattern_is_found_answers_step_by_step() -> None:
    task = "Please LOOK AT https://a.example now"
    url = "https://a.example"
    first = next_step(SCRIPT, Talk(task))
    assert first == Step(
        call="browser/navigate", arguments={"url": url, "options": {"deep": [url, 1]}}
    )
    assert next_step(SCRIPT, Talk(task, 1, "a page")).say == "There is: a page"
    assert next_step(SCRIPT, Talk(task, 2)).say == "[the script has no further step]"


def test_a_name_that_nothing_fills_stays_and_what_is_filled_in_is_not_read_again() -> None:
    assert next_step(SCRIPT, Talk("${result}", 0, "x")).say == "What about ${result}, ${nobody}?"


def test_without_a_rule_it_says_so() -> None:
    script = read_script("t", b"scripted: v1\nrules: [{when: never, steps: [{say: x}]}]\n")
    assert next_step(script, Talk("always")).say == "[no rule of the script is about this task]"


def test_of_a_result_only_what_the_tool_said_is_quoted() -> None:
    marked = "Data follows.\n<<<data 0a1b>>>\nthe <<<end 9>>> text\n<<<end 0a1b>>>"
    assert core(as_data("web__echo", marked)) == "the <<<end 9>>> text"
    assert core("refused: no") == "refused: no"
    assert core("x" * 3000).endswith("x [...]")


def test_it_reads_what_the_builtin_program_sends() -> None:
    call = ToolCall("call-1", "web__echo", "{}")
    request = ModelRequest(
        "small",
        (
            UserMessage("an earlier task"),
            AssistantMessage("done"),
            UserMessage("the task"),
            AssistantMessage("", (call,)),
            ToolResult("call-1", "the result"),
        ),
        100,
        "You are pm.",
        (ToolDefinition("builtin_send-message_0123456789ab", "builtin/send-message: Send.", {}),),
    )
    body = ChatCompletions().encode(request, stream=False)
    assert read_talk(body["messages"]) == Talk("the task", 1, "the result")
    assert offered_name("builtin/send-message", body["tools"]).endswith("0123456789ab")
    assert offered_name("web/echo", body["tools"]) == "web__echo"


@pytest.mark.parametrize("step", [Step(say="Grüße"), Step(call="a/b", arguments={"x": [1, "ü"]})])
def test_whole_and_streamed_it_says_the_same(step: Step) -> None:
    codec = ChatCompletions()
    body = {"model": "small", "messages": [], "stream_options": {"include_usage": True}}
    whole = codec.decode(json.dumps(answer(step, body, 3)).encode())
    assembly = codec.assembly()
    for event in SseDecoder().feed(b"".join(events(step, body, 3))):
        assembly.take(event)
    assert assembly.ended
    assert assembly.answer() == whole
    assert (whole.text or whole.calls[0].parsed()) == (step.say or step.arguments)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("rules: [{steps: [{say: x}]}]", "scripted"),
        ("scripted: v1\nrules: []", "rules"),
        ("scripted: v1\nrules: [{steps: [{say: x, call: a/b}]}]", "exactly one"),
        ("scripted: v1\nrules: [{steps: [{say: x, arguments: {a: 1}}]}]", "arguments"),
        ("scripted: v1\nrules: [{when: '(', steps: [{say: x}]}]", "RE2"),
        ("scripted: v1\nrules: [{steps: [{sya: x}]}]", "sya"),
        ("scripted: v1\nanchors: &x 1", "anchor"),
    ],
)
def test_a_file_that_is_no_script_is_refused_with_its_fault(written: str, told: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_script("script.yaml", written.encode())
    assert told in caught.value.message


def test_those_that_come_with_the_program_are_valid_and_found_by_name() -> None:
    assert "hello" in script_names()
    for name in script_names():
        assert load_script(name).rules
    assert set(template_names()) <= set(script_names())
    with pytest.raises(UsageError, match="no script"):
        load_script("nobody")


@pytest.mark.parametrize("name", template_names())
def test_the_script_of_a_template_calls_what_its_policy_knows(name: str) -> None:
    script, form = load_script(name), load_template(name)
    usual = {"room": "!r:a.example", "user": "@a:a.example"}
    values = {
        n: script.variables.get(n) or usual.get(v.kind) or v.default or ""
        for n, v in form.variables.items()
    }
    document = form.fill("trial", values)
    calls = [step.call for rule in script.rules for step in rule.steps if step.call]
    assert calls
    assert [call for call in calls if not may_be_called(document, call)] == []
    assert next_step(script, Talk(script.task)).call, "its own example does something"
