"""Kinds that name what is kept: tokens by digest, words of a list, heads of the log."""

from __future__ import annotations

import pytest

from agency.control.commands import parse
from agency.control.grammar.errors import CommandError
from agency.control.kept.minting import digest_of, new_token


def error_of(text: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        parse(text)
    return caught.value


def test_a_token_in_place_of_its_digest_is_not_said_again() -> None:
    token = new_token()
    for text in (
        f"!agency tokens create {token}",
        f"!agency tokens create sha256:{token} --days=1",
    ):
        told = error_of(text)
        assert "this is a token" in told.message
        shown = f"{told} {told.hint} {told.pointer()} {told.as_dict()}"
        assert token not in shown
        assert told.pointer() == ""
    other = error_of("!agency tokens create sha256:1234")
    assert "sha256:1234" in other.pointer(), "positive control"
    assert parse(f"!agency tokens create sha256:{digest_of(token)}").text("digest") is not None


def test_words_of_a_list_are_suggested() -> None:
    told = error_of(f"!agency tokens create sha256:{'a' * 64} --role=oprator")
    assert told.suggestion == "operator"
    assert "viewer, operator, approver, admin" in (told.hint or "")


@pytest.mark.parametrize("head", ["1", "1:ab", "01:" + "a" * 64, "-1:" + "a" * 64, "a" * 64])
def test_what_is_no_head_is_refused(head: str) -> None:
    assert "no head of the audit log" in error_of(f"!agency audit verify --head={head}").message


@pytest.mark.parametrize("token", ["abc", "ABCDEF01", "a" * 65, "agt_x"])
def test_what_is_no_tokens_id_is_refused(token: str) -> None:
    assert "no token" in error_of(f"!agency tokens revoke {token}").message
