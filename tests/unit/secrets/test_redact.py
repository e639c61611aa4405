"""No secret gets through, whatever it was encoded by and wherever a stream was cut."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import InternalError
from agency.secrets.generators import generate
from agency.secrets.redact import MARK, MIN_LENGTH, RedactingWriter, Redactor, encodings
from agency.secrets.values import SecretValue

CANARY = "s3cr3t/Ca+n=ary &\"<ä>'"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SECRETS = st.text(
    st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=MIN_LENGTH, max_size=30
).filter(lambda text: not set(text) & set(MARK))

ENCODERS: list[Callable[[str], str]] = [
    str,
    json.dumps,
    lambda s: json.dumps(s, ensure_ascii=False),
    lambda s: json.dumps({"outer": [s]}),
    repr,
    html.escape,
    lambda s: html.escape(s, quote=False),
    urllib.parse.quote,
    lambda s: urllib.parse.quote(s, safe=""),
    urllib.parse.quote_plus,
    lambda s: urllib.parse.urlencode({"token": s}),
    lambda s: re.sub("%..", lambda m: m[0].lower(), urllib.parse.quote(s, safe="")),
    lambda s: s.encode().hex(),
    lambda s: s.encode().hex().upper(),
]


def redactor(*values: str) -> Redactor:
    return Redactor(SecretValue(value) for value in values)


@pytest.mark.parametrize("encode", ENCODERS)
def test_every_encoding_is_found(encode: Callable[[str], str]) -> None:
    secret, text = redactor(CANARY), f"before {encode(CANARY)} after"
    assert MARK in secret.redact(text)
    assert secret.find(secret.redact(text)) == []
    assert secret.redact(text).startswith("before ")
    assert secret.redact(text).endswith(" after")


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("encoder", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_every_alignment(
    before: int, after: int, encoder: Callable[[bytes], bytes]
) -> None:
    text = encoder(b"\xfb" * before + CANARY.encode() + b"\xfe" * after).decode()
    redacted = redactor(CANARY).redact(text)
    assert MARK in redacted
    # Only characters that hold bits of the neighbours are left.
    first, last = -(-before * 8 // 6), (before + len(CANARY.encode())) * 8 // 6
    assert len(redacted) - len(MARK) == len(text) - (last - first)


def test_other_text_stays_as_it_is() -> None:
    text = "nothing here: " + base64.b64encode(b"something else entirely").decode()
    assert redactor(CANARY).redact(text) == text


def test_a_private_key_is_found_by_each_of_its_lines() -> None:
    from agency.secrets.classes import Generator

    key = generate(Generator.RSA)
    secret = Redactor([key])
    lines = key.reveal().splitlines()
    assert MARK in secret.redact(key.reveal())
    for line in lines[1:-1]:
        if len(line) >= 16:
            assert secret.redact(f"log: {line}") == f"log: {MARK}"
    # Its frame is public.
    assert secret.redact(lines[0]) == lines[0]


def test_a_secret_that_contains_another() -> None:
    assert redactor("abcdef", "abcdefghij").redact("xabcdefghijx abcdefx") == f"x{MARK}x {MARK}x"


def test_secrets_that_overlap_leave_nothing() -> None:
    assert redactor("abcdefgh", "efghijkl").redact("-abcdefghijkl-") == f"-{MARK}-"


@pytest.mark.parametrize("short", ["", "12345", "     1     "])
def test_a_short_secret_is_refused(short: str) -> None:
    with pytest.raises(InternalError, match="shorter than 6"):
        redactor(CANARY, short)
    redactor("123456")


def test_neither_the_redactor_nor_its_error_shows_a_secret() -> None:
    assert CANARY not in repr(redactor(CANARY))
    with pytest.raises(InternalError) as caught:
        redactor("pin42")
    assert "pin42" not in str(caught.value)


@given(SECRETS, TEXT, TEXT)
def test_no_form_of_a_secret_is_left(secret: str, before: str, after: str) -> None:
    found = redactor(secret)
    for form in encodings(secret):
        redacted = found.redact(before + form + after)
        assert secret not in redacted
        assert found.find(redacted.replace(MARK, "\x00")) == []


class TestStream:
    """`RedactingWriter` gives what `redact` gives, however the stream was cut."""

    def through(self, secrets: list[str], chunks: list[str]) -> str:
        out: list[str] = []
        with RedactingWriter(out.append, redactor(*secrets)) as writer:
            for chunk in chunks:
                assert writer.write(chunk) == len(chunk)
        return "".join(out)

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
    @pytest.mark.parametrize("encode", ENCODERS)
    def test_a_secret_cut_anywhere(self, encode: Callable[[str], str], size: int) -> None:
        text = f"a {encode(CANARY)}{encode(CANARY)} b {CANARY[:-1]} c"
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        assert self.through([CANARY], chunks) == redactor(CANARY).redact(text)

    @given(
        st.lists(st.text("abc", min_size=MIN_LENGTH, max_size=9), min_size=1, max_size=3),
        st.lists(st.text("abcd", max_size=12), max_size=12),
    )
    def test_the_stream_is_the_whole(self, secrets: list[str], chunks: list[str]) -> None:
        assert self.through(secrets, chunks) == redactor(*secrets).redact("".join(chunks))

    def test_a_repeating_secret_does_not_fill_the_memory(self) -> None:
        out: list[str] = []
        writer = RedactingWriter(out.append, redactor("aaaaaa"))
        for _ in range(2000):
            writer.write("a" * 100)
        assert len(writer._held) < 100
        writer.close()
        assert "".join(out) == MARK

    def test_ordinary_text_is_not_held_back(self) -> None:
        out: list[str] = []
        RedactingWriter(out.append, redactor("zzzzzzzz")).write("ready\n")
        assert out == ["ready\n"]

    def test_the_beginning_of_a_secret_is_held_back(self) -> None:
        out: list[str] = []
        writer = RedactingWriter(out.append, redactor("zebra-crossing"))
        writer.write("a zebra-cross")
        assert out == ["a "]
        writer.write("ed")
        assert "".join(out) == "a zebra-crossed"
