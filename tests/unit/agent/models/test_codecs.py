"""Codecs and the decoder of events: what is written is read again, cut at any byte."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
import scripted_model
from hypothesis import given
from hypothesis import strategies as st
from scripted_model import Turn

from agency.agent.models import faults
from agency.agent.models.client import CODECS, ModelLimits, next_wait, retry_after
from agency.agent.models.conversation import Answer, StopReason, ToolCall, Usage
from agency.agent.models.sse import SseDecoder, SseEvent

WHOLE = {"openai": scripted_model._chat_whole, "anthropic": scripted_model._messages_whole}
EVENTS = {"openai": scripted_model._chat_events, "anthropic": scripted_model._messages_events}
BOTH = pytest.mark.parametrize("wire", ["openai", "anthropic"])

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ARGUMENTS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(-9, 9), st.none()), max_size=3)
CALLS = st.lists(
    st.builds(
        ToolCall,
        st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True),
        st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True),
        ARGUMENTS.map(json.dumps),
    ),
    max_size=3,
    unique_by=lambda call: call.id,
).map(tuple)
USAGES = st.builds(Usage, st.integers(50, 2**40), st.integers(0, 2**40), st.integers(0, 40))
TURNS = st.builds(
    Turn, text=TEXTS, calls=CALLS, usage=st.one_of(st.none(), USAGES), piece=st.integers(1, 9)
)
BODY = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}


def meant(turn: Turn) -> tuple[object, ...]:
    return turn.text, turn.reason, [(c.id, c.name, c.parsed()) for c in turn.calls], turn.usage


def read(answer: Answer) -> tuple[object, ...]:
    usage = None if answer.usage == Usage() else answer.usage
    return answer.text, answer.stop, [(c.id, c.name, c.parsed()) for c in answer.calls], usage


@BOTH
@given(turn=TURNS)
def test_an_answer_is_read_as_it_was_meant(wire, turn):
    codec = CODECS[wire]
    assert read(codec.decode(json.dumps(WHOLE[wire](turn, "m")).encode())) == meant(turn)
    assembly = codec.assembly()
    for event in SseDecoder().feed(b"".join(EVENTS[wire](turn, BODY))):
        assembly.take(event)
    answer = assembly.answer()
    if wire == "anthropic" and turn.usage is None:
        answer = replace(answer, usage=Usage())
    assert read(answer) == meant(turn)


STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b'event: first\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    b"data:no space\n\n\n\n"
    b"id: 7\rdata: \xf0\x9f\x8c\x8d \xe2\x80\xa8 \xc2\x85 x\r\r"
    b"retry: 5\ndata\n\n"
    b"data: not ended\n"
)
MEANT = [
    SseEvent('{"a":\n1}', "first"),
    SseEvent("no space"),
    SseEvent("🌍 \u2028 \x85 x"),
    SseEvent(""),
]


def test_a_stream_cut_at_any_byte_has_the_same_events():
    for at in range(len(STREAM) + 1):
        decoder = SseDecoder()
        assert decoder.feed(STREAM[:at]) + decoder.feed(STREAM[at:]) == MEANT, at
    decoder = SseDecoder()
    assert [e for at in range(len(STREAM)) for e in decoder.feed(STREAM[at : at + 1])] == MEANT


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_cut_anywhere_has_the_same_events(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    decoder = SseDecoder()
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == MEANT


@pytest.mark.parametrize("endless", [b"data: " + b"x" * 999, b"data: x\n", b"x" * 999, b":\n: "])
def test_an_event_that_never_ends_is_bounded_or_takes_no_memory(endless):
    decoder = SseDecoder(most=10_000)
    try:
        for _ in range(20_000):
            decoder.feed(endless)
    except faults.OversizedAnswerError:
        return
    assert endless.startswith(b":")
    assert len(decoder._line) < 10_000


def test_an_event_that_is_no_text():
    with pytest.raises(faults.MalformedAnswerError):
        SseDecoder().feed(b"data: \xff\n\n")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "content", "tool_calls", "function", "usage", "error"),
                    *("type", "index", "delta", "content_block", "stop_reason", "finish_reason"),
                    *("id", "name", "arguments", "input", "text", "prompt_tokens", "output_tokens"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@BOTH
@given(junk=st.lists(JUNK, max_size=4))
def test_any_json_is_an_answer_or_a_model_error(wire, junk):
    codec = CODECS[wire]
    assembly = codec.assembly()
    with suppress(faults.ModelError):
        for each in junk:
            assembly.take(SseEvent(json.dumps(each)))
        assembly.answer()
    for each in junk:
        with suppress(faults.ModelError):
            codec.decode(json.dumps(each).encode())
        assert isinstance(codec.fault(json.dumps(each).encode()), str)


@BOTH
@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"\xff", b"NaN", b"9" * 9999])
def test_what_is_no_json(wire, body):
    with pytest.raises(faults.MalformedAnswerError):
        CODECS[wire].decode(body)


@BOTH
@pytest.mark.parametrize("arguments", ["[]", "{", "1", '{"a":}', "null"])
def test_arguments_that_are_no_object(wire, arguments):
    turn = Turn(calls=(ToolCall("c", "look", arguments),))
    assembly = CODECS[wire].assembly()
    for event in SseDecoder().feed(b"".join(EVENTS[wire](turn, BODY))):
        assembly.take(event)
    with pytest.raises(faults.MalformedAnswerError, match="not a JSON object"):
        assembly.answer()


HALF, OTHER = "\ud83d", "\ude00"  # of one character, as JSON may say them apart


def said_in_pieces(wire, texts, arguments):
    """Read a stream whose text and one call's arguments come in these pieces."""
    assembly = CODECS[wire].assembly()
    for each in (_chat_pieces if wire == "openai" else _messages_pieces)(texts, arguments):
        assembly.take(SseEvent(json.dumps(each)))
    return assembly.answer()


def _chat_pieces(texts, arguments):
    for each in texts:
        yield {"choices": [{"delta": {"content": each}}]}
    for each in arguments:
        call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": each}}
        yield {"choices": [{"delta": {"tool_calls": [call]}}]}
    yield {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}


def _messages_pieces(texts, arguments):
    call = {"type": "tool_use", "id": "c", "name": "look"}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
    yield {"type": "content_block_start", "index": 1, "content_block": call}
    for each in texts:
        delta = {"type": "text_delta", "text": each}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    for each in arguments:
        delta = {"type": "input_json_delta", "partial_json": each}
        yield {"type": "content_block_delta", "index": 1, "delta": delta}
    yield {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    yield {"type": "message_stop"}


@BOTH
def test_a_character_that_a_stream_cuts_in_two_is_one_again(wire):
    answer = said_in_pieces(wire, ["done ", HALF, OTHER], ['{"at": "', HALF, OTHER + '"}'])
    assert (answer.text, answer.calls[0].parsed()) == ("done 😀", {"at": "😀"})


@BOTH
@pytest.mark.parametrize("half", [HALF, OTHER, "\\ud83d", "\\uDE00"])
def test_half_a_character_is_replaced(wire, half):
    """Also where the arguments' own escapes say it; a backslash before a `u` stays one."""
    text = half if len(half) == 1 else "\ufffd"
    given = '{"at": "' + half + 'x", "path": "C:\\\\ud83d", "at": "\\ud83d\\ude00"}'
    answer = said_in_pieces(wire, ["done ", text, "."], [given])
    assert answer.text == "done \ufffd."
    assert answer.calls[0].arguments.encode()
    found = json.loads(answer.calls[0].arguments, object_pairs_hook=list)
    assert found == [("at", "\ufffdx"), ("path", "C:\\ud83d"), ("at", "😀")]


@BOTH
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("depth", [90, 101, 900])
def test_arguments_that_could_be_read_and_not_be_written_again(wire, streamed, depth):
    """The control: what is less deep is a call like others."""
    arguments = '{"a":' * depth + "1" + "}" * depth

    def found():
        if streamed:
            return said_in_pieces(wire, [], [arguments])
        turn = Turn(calls=(ToolCall("c", "look", arguments),))
        return CODECS[wire].decode(json.dumps(WHOLE[wire](turn, "m")).encode())

    if depth < 100:
        assert found().calls[0].parsed() == json.loads(arguments)
    else:
        with pytest.raises(faults.OversizedAnswerError, match="nested deeper than 100"):
            found()


def test_explicit_zero_usage_is_not_missing_usage():
    turn = Turn("x", usage=Usage(0, 0))
    for wire, codec in CODECS.items():
        answer = codec.decode(json.dumps(WHOLE[wire](turn, "m")).encode())
        assert (answer.usage.input, answer.usage.output) == (0, 0)


def test_a_server_that_says_stop_with_calls_waits_for_their_results():
    turn = Turn(calls=(ToolCall("c", "look", "{}"),), stop=StopReason.DONE)
    found = CODECS["openai"].decode(json.dumps(WHOLE["openai"](turn, "m")).encode())
    assert found.stop is StopReason.TOOLS


@pytest.mark.parametrize(
    ("tried", "after", "wait"),
    [
        (1, None, 1.0),
        (2, None, 2.0),
        (3, None, 4.0),
        (4, None, None),
        (1, 5.0, 5.0),
        (1, 31.0, None),
    ],
)
def test_waits(tried, after, wait):
    assert next_wait(tried, after, ModelLimits(first_wait_s=1.0), 1.0) == wait


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 50, None),
        ("5.5", None),
        (None, None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, 10.0) == seconds
