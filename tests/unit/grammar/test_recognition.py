"""Which messages are meant for the agency."""

from __future__ import annotations

import pytest

from agency.control.commands import GRAMMAR, looks_like_command

HIDDEN = ["\u200b", "\u200e", "\u202e", "\ufeff", "\u00ad", "\x00", "\U000e0041", "\u2800"]
WHITE = [" ", "\n", "\t", "\u00a0", "\u3000", "\u2028"]


def test_the_first_words():
    assert GRAMMAR.first_words == (
        "!agency",
        "/ruriko",
        "//ruriko",
        "!list-agents",
        "!start-agent",
        "!stop-agent",
        "!restart-agent",
        "!agent-status",
        "!approve",
        "!deny",
    )


@pytest.mark.parametrize("word", GRAMMAR.first_words)
def test_ours(word):
    for text in (word, f"{word} x", f"{word}\nx", f"{word}x", f"{word}: x", word.upper()):
        assert looks_like_command(text)
    for before in HIDDEN + WHITE:
        assert looks_like_command(before * 3 + word)
    for inside in HIDDEN:
        assert looks_like_command(word[:3] + inside * 200 + word[3:])


@pytest.mark.parametrize("word", GRAMMAR.first_words)
def test_a_slip_of_one_is_ours(word):
    for place in range(1, len(word) - 1):
        swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        for slip in (
            word[:place] + word[place + 1 :],
            word[:place] + "x" + word[place:],
            word[:place] + "x" + word[place + 1 :],
            swapped,
        ):
            if slip.startswith(("!", "/")):
                assert looks_like_command(slip), slip


@pytest.mark.parametrize(
    "text",
    [
        "!agency",
        "!agencyy ping",
        "!start-agentx pm",
        "!startagent pm",
        "!strat-agnet pm",
        "!agent-start pm",
        "/agency ping",
        "//agency ping",
        "//Agency ping",
        "//start-agent pm",
        "/start-agent pm",
        "!agents-list",
        "!status-agent pm",
        "\uff01agency ping",
        "!\u0430gency ping",
        "!agenc\u0443 ping",
        "\n\n !agency ping",
        "!Start-Agent pm",
    ],
)
def test_near_misses_are_ours(text):
    assert looks_like_command(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u200b\u200b",
        "hello",
        "agency ping",
        "the !agency ping",
        "start-agent pm",
        "-start-agent pm",
        '"!agency" ping',
        "\\!agency",
        "> !agency ping",
        "!othersbot",
        "!agent",
        "!urgency now",
        "!start",
        "!help",
        "/me waves",
        "/join #room",
        "!" + "x" * 65536,
        "! agency ping",
        "x" * 200 + " !agency",
        "/ruri",
        "//rurica",
        "//agent",
        "///",
        "//help",
        "!stop-agxyz",
        "//",
        "!",
        "!-",
    ],
)
def test_other_talk_is_not(text):
    assert not looks_like_command(text)


def test_a_word_is_looked_at_up_to_64_characters():
    assert looks_like_command("!agency" + "x" * 65536)
    assert not looks_like_command("!" + "x" * 63 + " !agency")
