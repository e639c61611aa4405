"""What may leave: planning, fields, redaction, configuration, policy, gate; pure parts."""

from __future__ import annotations

import json
import time

import pytest
from gosutos import document
from hypothesis import given
from hypothesis import strategies as st
from proxied import HELD, TOKENS, configured, settings
from pydantic import ValidationError

from agency.agent.models.sse import SseDecoder
from agency.agent.proxy.accounting.ledger import Reservation, Wish
from agency.agent.proxy.accounting.metering import Meter
from agency.agent.proxy.accounting.pricing import Amount, Rates
from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.gate import Gate
from agency.agent.proxy.identity import owner
from agency.agent.proxy.policy import Policies, narrowed
from agency.agent.proxy.refusals import REASONS, Refusal, error_body
from agency.agent.proxy.requests.planning import OVERHEAD_TOKENS, Plan, plan, read_request
from agency.agent.proxy.requests.redacting import RequestRedactor
from agency.agent.proxy.upstream import Frames
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.gosuto import canonical
from agency.secrets import Redactor, SecretValue, redact_tokens

USER = {"role": "user", "content": "hi"}
REDACTOR = RequestRedactor(Redactor([SecretValue(HELD)]))
MODELS = {"openai": "small", "anthropic": "claude"}


def planned(wire: str = "openai", account=None, **body) -> Plan:
    from pathlib import Path

    config = configured("http://127.0.0.1:1", Path("/x/ledger.db"), account=account or {})
    whole = {"model": MODELS[wire], "messages": [USER], **body}
    return plan("pm", config.accounts["pm"], whole, wire, config, REDACTOR)


SERVER_TOOLS = [
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "code_execution_20250522", "name": "code_execution"},
    {"type": "bash_20250124", "name": "bash"},
]


@pytest.mark.parametrize("tool", SERVER_TOOLS)
def test_tools_of_the_provider_do_not_pass(tool):
    with pytest.raises(Refusal, match="tools of the provider") as caught:
        planned("anthropic", tools=[{"name": "ok", "input_schema": {}}, tool])
    assert caught.value.status == 403
    with pytest.raises(Refusal):
        planned("openai", tools=[{"type": "web_search_preview"}])
    with pytest.raises(Refusal):
        planned("openai", tools=[{"function": {"name": "x"}}])
    kept = planned("anthropic", tools=[{"name": "ok", "input_schema": {}}]).body
    assert kept["tools"][0]["name"] == "ok"


@pytest.mark.parametrize(
    "field", ["mcp_servers", "web_search_options", "container", "functions", "plugins"]
)
def test_fields_by_which_the_provider_acts_are_refused(field):
    with pytest.raises(Refusal, match=field):
        planned("anthropic", **{field: [{"url": "https://evil.example"}]})
    assert field not in planned("anthropic", **{field: None}).body


IMAGES = {
    "openai": lambda url: {"type": "image_url", "image_url": {"url": url}},
    "anthropic": lambda url: {"type": "image", "source": {"type": "url", "url": url}},
}


@pytest.mark.parametrize("wire", IMAGES)
@pytest.mark.parametrize("url", ["http://169.254.169.254/", "file:///etc/passwd", "DATA:text/x,"])
def test_no_address_is_fetched_by_the_provider(wire, url):
    image = IMAGES[wire](url)
    with pytest.raises(Refusal, match="not by an address"):
        planned(wire, messages=[{"role": "user", "content": [image]}])
    inside = {"type": "tool_result", "tool_use_id": "x", "content": [image]}
    with pytest.raises(Refusal, match="not by an address"):
        planned(wire, messages=[{"role": "user", "content": [inside]}])


def test_an_image_with_its_bytes_passes_and_is_paid_by_more_than_them():
    part = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    made = planned("anthropic", messages=[{"role": "user", "content": [part]}])
    assert made.wish.input_tokens > 8192 + OVERHEAD_TOKENS
    data = IMAGES["openai"]("data:image/png;base64,AA")
    assert planned(messages=[{"role": "user", "content": [data]}]).wish.input_tokens > 8192


@pytest.mark.parametrize("kind", ["document", "input_audio", "file", "container_upload", None, 7])
def test_other_parts_do_not_pass(kind):
    with pytest.raises(Refusal, match="do not pass"):
        planned("anthropic", messages=[{"role": "user", "content": [{"type": kind}]}])
    with pytest.raises(Refusal, match="do not pass"):
        planned("anthropic", system=[{"type": kind}])


def test_what_is_not_known_is_left_out_and_named():
    made = planned(service_tier="priority", store=True, metadata={"user": "x"}, temperature=0.5)
    assert made.left_out == ("metadata", "service_tier", "store")
    assert made.body["temperature"] == 0.5


@pytest.mark.parametrize(
    "body",
    [
        {"model": None},
        {"model": ["small"]},
        {"messages": "hi"},
        {"messages": [1]},
        {"messages": [{"content": 5}]},
        {"messages": [{"content": [5]}]},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": "9"},
        {"max_tokens": True},
        {"max_tokens": 1.5},
        {"n": 0},
        {"n": 9},
        {"n": "2"},
        {"stream": "yes"},
        {"tools": {"a": 1}},
        {"response_format": json.loads("[" * 70 + "]" * 70)},
    ],
)
def test_a_request_that_is_none(body):
    with pytest.raises(Refusal) as caught:
        planned(**body)
    assert caught.value.status in (400, 403)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"model": "a", "model": "b"}', b'{"t": NaN}', b"[" * 99_999, b"\xff"],
)
def test_a_body_that_is_none(raw):
    with pytest.raises(Refusal, match="JSON object"):
        read_request(raw)


def test_the_smaller_of_two_output_limits_counts_and_one_is_sent():
    made = planned(max_tokens=500, max_completion_tokens=60)
    sent = json.loads(made.written(made.wish.output_tokens))
    given = {key: sent.get(key) for key in ("max_tokens", "max_completion_tokens")}
    assert sorted(given.values(), key=str) == [60, None]


def test_choices_are_paid_for_together():
    assert planned(n=3).wish.choices == 3
    assert planned("anthropic", n=3).wish.choices == 1


@given(st.text(max_size=300))
def test_input_is_bounded_by_its_bytes(text):
    made = planned(messages=[{"role": "user", "content": text}])
    assert made.wish.input_tokens >= len(made.written(1)) + OVERHEAD_TOKENS - 40
    assert made.wish.input_tokens >= len(text.encode(errors="replace"))


def test_a_lone_surrogate_stays_json():
    body = read_request(b'{"model":"small","messages":[{"role":"user","content":"a\\ud800b"}]}')
    sent = planned(**body).written(1)
    assert json.loads(sent)["messages"][0]["content"] == "a\ud800b"


@given(st.lists(st.sampled_from([HELD, "x", '"', "\\", "é", "\n"]), max_size=6).map("".join))
def test_a_held_value_is_in_no_text_nor_key(text):
    made, _ = REDACTOR.tree({"a": [text, {text: text}], "n": 5, "b": None})
    assert HELD not in json.dumps(made)
    assert (made["n"], made["b"]) == (5, None)


def test_a_private_key_is_taken_out_whole():
    head, tail = "-----BEGIN " + "PRIVATE KEY-----", "-----END " + "PRIVATE KEY-----"
    assert redact_tokens(f"a {head}\nMIIB\n{tail} b {head} c") == "a [***] b [***]"


def test_long_hostile_texts_are_redacted_in_linear_time():
    head = "-----BEGIN " + "PRIVATE KEY-----"
    for piece in (head, "sk-", "syt_", "glpat-", "AKIA", "-----END "):
        begun = time.process_time()
        redact_tokens(piece * (2_000_000 // len(piece)))
        assert time.process_time() - begun < 3, piece


def test_tokens_of_known_formats_are_taken_out():
    for token in ("ghp_" + "a1" * 18, "glpat-" + "x" * 20, "AKIA" + "A1" * 8, "hf_" + "a" * 34):
        assert redact_tokens(f"see {token}, ok") == "see [***], ok"
    plain = "sha256:" + "ab" * 32 + " call-0123456789abcdef"
    assert redact_tokens(plain) == plain


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"providers": {"one": {"url": "http://api.example.org"}}}, "must be https"),
        ({"providers": {"one": {"url": "https://u:p@api.example.org"}}}, "no user"),
        ({"providers": {"one": {"url": "https://api.example.org/?key=1"}}}, "no user, query"),
        ({"providers": {"one": {"url": "file:///etc"}}}, "must be an https"),
        ({"models": {"small": {"provider": "none"}}}, "not under providers"),
        ({"models": {"small": {"price": {"input": -1, "output": 1}}}}, "greater than or equal"),
        ({"accounts": {"pm": {"models": ["unknown"]}}}, "not under models"),
        ({"accounts": {"pm": {"tokenSha256": "short"}}}, "match pattern"),
        ({"accounts": {"pm": {"tokensPerDay": None}}}, "valid integer"),
        ({"socket": "/run/x"}, "either port or socket"),
        ({"port": None}, "either port or socket"),
        ({"host": "0.0.0.0"}, "not a loopback"),
        ({"extra": 1}, "Extra inputs"),
        ({"metricsTokenSha256": sha256_hex(TOKENS["pm"].encode())}, "one token"),
    ],
)
def test_a_configuration_that_is_wrong(tmp_path, change, said):
    plain = settings("https://api.example.org", tmp_path / "x")
    ProxyConfig.model_validate_json(json.dumps(plain))
    with pytest.raises(ValidationError, match=said):
        ProxyConfig.model_validate_json(json.dumps(_changed(plain, change)))


def _changed(old, new):
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _changed(old.get(key), value) for key, value in new.items()}}


def test_whose_token_it_is():
    digests = {name: sha256_hex(token.encode()) for name, token in TOKENS.items()}
    for name, token in TOKENS.items():
        assert owner(token.encode(), digests) == name
    assert owner(b"", {"pm": sha256_hex(b"")}) is None
    assert owner(b"other", digests) is None


LIMITS = {
    "requestsPerMinute": 5,
    "tokensPerRequest": 64,
    "concurrentRequests": 2,
    "costUsdPerMonth": 3.5,
}


def test_a_gosuto_narrows_an_account_and_never_widens_it(tmp_path):
    config = configured("http://127.0.0.1:1", tmp_path / "x")
    account, models = config.accounts["pm"], config.models
    small = narrowed(account, document({}, limits=LIMITS), models)
    assert (small.requests_per_minute, small.tokens_per_request) == (5, 64)
    assert (small.concurrent_requests, small.usd_per_month) == (2, 3.5)
    wide = {key: value * 1000 for key, value in LIMITS.items()} | {"concurrentRequests": 900}
    assert narrowed(small, document({}, limits={**wide, "costUsdPerMonth": 9.0}), models) == small
    assert narrowed(account, document({}), models) == account
    for provider, left in (("one", ("small",)), ("two", ("claude",)), ("three", ())):
        persona = {"provider": provider}
        assert narrowed(account, document({}, persona=persona), models).models == left


def test_a_changed_policy_counts_from_the_next_call_and_an_unreadable_one_forbids(tmp_path):
    path = tmp_path / "gosuto.json"
    account = configured("http://127.0.0.1:1", tmp_path / "x", account={"gosuto": str(path)})
    pm, policies = account.accounts["pm"], Policies(account.models)

    def refused() -> bool:
        try:
            policies.account("pm", pm)
        except Refusal as refusal:
            return (refusal.status, refusal.reason) == (403, "policy")
        return False

    assert refused()
    path.write_bytes(canonical(document({}, limits=LIMITS)))
    assert policies.account("pm", pm).requests_per_minute == 5
    path.write_bytes(canonical(document({}, limits={**LIMITS, "requestsPerMinute": 7777})))
    assert policies.account("pm", pm).requests_per_minute == 1000
    path.write_bytes(b"{}")
    assert refused()
    other = document({}, metadata={"name": "developer"})
    path.write_bytes(canonical(other))
    assert refused()
    slot = pm.model_copy(update={"slot": True})
    assert policies.account("pm", slot).models, "in a slot it is that of whoever is there"
    path.unlink()
    assert refused()


def test_the_gate_counts_a_window_of_a_minute():
    now = [0.0]
    gate = Gate(Clock(steady=lambda: now[0]))

    def passes() -> int | None:
        try:
            with gate.passing("pm", per_minute=2, at_once=5):
                return None
        except Refusal as refusal:
            return refusal.retry_after_s

    assert [passes(), passes(), passes()] == [None, None, 60]
    now[0] = 59.5
    assert passes() == 1
    now[0] = 60.0
    assert [passes(), passes(), passes()] == [None, None, 60]
    with gate.passing("developer", per_minute=2, at_once=1):
        second = gate.passing("developer", per_minute=2, at_once=1)
        with pytest.raises(Refusal, match="at one time"), second:
            pass
        assert gate.running == 1
    assert gate.running == 0


STREAM = b"data: 1\n\ndata: 2\r\n\r\ndata: \xf0\x9f\x8c\x8d\r\r: x\n\n\n\ndata: end"


def test_frames_cut_at_any_byte_are_the_same_bytes_and_the_same_events():
    whole = Frames().feed(STREAM)
    events = [e for each in whole for e in SseDecoder().feed(each)]
    for at in range(len(STREAM) + 1):
        frames = Frames()
        found = frames.feed(STREAM[:at]) + frames.feed(STREAM[at:])
        assert b"".join(found) + frames.close() == STREAM
        assert [e for each in found for e in SseDecoder().feed(each)] == events, at
    frames = Frames()
    single = [f for at in range(len(STREAM)) for f in frames.feed(STREAM[at : at + 1])]
    assert b"".join(single) + frames.close() == STREAM


def test_an_event_that_comes_byte_by_byte_takes_linear_time():
    frames, begun = Frames(), time.process_time()
    for _ in range(300_000):
        frames.feed(b"x")
    assert time.process_time() - begun < 3
    assert len(frames.close()) == 300_000


def test_every_refusal_has_a_body_in_both_formats():
    for reason in REASONS:
        assert error_body("openai", reason, "why")["error"]["code"] == reason
        assert error_body("anthropic", reason, "why")["type"] == "error"


RESERVED = Reservation(
    "c", Wish("pm", Rates(1, 1, 1, 1), 500, 100), 100, Rates(1, 1, 1, 1).most(500, 100)
)
JUNK = st.recursive(
    st.none() | st.integers(-5, 200) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "type",
                        "choices",
                        "delta",
                        "usage",
                        "message",
                        "finish_reason",
                        "stop_reason",
                    ),
                    *(
                        "prompt_tokens",
                        "completion_tokens",
                        "input_tokens",
                        "output_tokens",
                        "content",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@given(junk=st.lists(JUNK, max_size=4))
def test_the_meter_takes_anything_and_counts_what_is_not_final_whole(wire, junk):
    from agency.agent.models.sse import SseEvent

    meter = Meter(wire, RESERVED)
    for each in junk:
        meter.event(SseEvent(json.dumps(each)))
    amount = meter.amount()
    assert isinstance(amount, Amount)
    if not meter.final and meter.usage.input is None:
        assert amount.tokens >= RESERVED.amount.tokens
