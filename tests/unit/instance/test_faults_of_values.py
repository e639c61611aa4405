"""Values that are right alone and wrong here; odd letters; limits of DNS, Matrix and the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agency import naming
from agency.instance.load import load_instance
from agency.instance.problems import InstanceError, Problem

Write = Callable[[str], Path]


def problems(write: Write, text: str) -> list[Problem]:
    root = write(text)
    try:
        load_instance(root)
    except InstanceError as error:
        return list(error.problems)
    return []


class TestOperatorsOfOtherServers:
    """Without federation nobody of another homeserver could command."""

    @pytest.mark.parametrize(
        "who", ["@alice:agency.exmaple", "@bob:matrix.org", "@al:agency.example:8448"]
    )
    def test_refused_with_line_and_remedy(self, write: Write, good: str, who: str) -> None:
        (one,) = problems(write, good.replace("@alice:agency.example", who))
        assert (one.line, one.field) == (5, "operators[0]")
        server = who.partition(":")[2]
        assert f"has an account on {server}" in one.message
        assert f"{who.partition(':')[0]}:agency.example" in one.message
        assert "{matrix: {federation: true}}" in one.message

    def test_a_wrong_domain_is_told_beside_it(self, write: Write, good: str) -> None:
        """Each operator is told, also where another part is wrong."""
        text = good.replace("name: test", "name: Test").replace(
            "domain: agency.example", "domain: agency.exmaple"
        )
        assert [one.field for one in problems(write, text)] == ["name", "operators[0]"]

    @pytest.mark.parametrize("matrix", ["federation: true", "enable: false"])
    def test_accepted_with_federation_or_without_a_homeserver(
        self, write: Write, good: str, matrix: str
    ) -> None:
        text = good.replace("@alice:agency.example", "@bob:matrix.org")
        assert problems(write, f"{text}services: {{matrix: {{{matrix}}}}}\n") == []
        assert problems(write, f"{text}services: {{matrix: {{federation: false}}}}\n") != []


ODD = [
    ("@al\u200bice:agency.example", "character 4 is U+200B, ZERO WIDTH SPACE"),
    ("@\u0430lice:agency.example", "character 2 is U+0430, CYRILLIC SMALL LETTER A"),
    ("\u201c@alice:agency.example\u201d", "character 1 is U+201C, LEFT DOUBLE QUOTATION MARK"),
    ("@alice\uff1aagency.example", "character 7 is U+FF1A, FULLWIDTH COLON"),
    ("@alice:agency\u2024example", "character 14 is U+2024, ONE DOT LEADER"),
]


@pytest.mark.parametrize(("who", "words"), ODD)
def test_an_odd_letter_of_an_operator_is_named(
    write: Write, good: str, who: str, words: str
) -> None:
    (one,) = problems(write, good.replace("@alice:agency.example", who))
    assert (one.line, one.field) == (5, "operators[0]")
    assert words in one.message
    assert one.message.isascii()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: test", "name: t\u0435st"),
        ("domain: agency.example", "domain: ag\u0435ncy.example"),
        ("  pm:", "  p\u0435:"),
        ("role: pm", "role: p\u0435"),
    ],
)
def test_an_odd_letter_anywhere_is_named(write: Write, good: str, old: str, new: str) -> None:
    found = problems(write, good.replace(old, new, 1))
    assert any("U+0435, CYRILLIC SMALL LETTER IE" in one.message for one in found)


def test_a_secret_in_the_wrong_place_is_not_repeated(write: Write, good: str) -> None:
    pasted = "correct-horse-battery"
    (one,) = problems(
        write,
        good.replace("provider: ephemeral", f"provider: sops\n  recipients: {{a: {pasted}}}"),
    )
    assert pasted not in one.message


@pytest.mark.parametrize(
    "marker", ["<<<<<<< HEAD", "=======", ">>>>>>> other", "||||||| merged common ancestors"]
)
def test_a_conflict_marker_is_named_with_its_line(write: Write, good: str, marker: str) -> None:
    (one,) = problems(write, good.replace("domain:", f"{marker}\ndomain:"))
    assert one.line == 3
    assert "of a merge conflict" in one.message


class TestLimits:
    """Of Matrix ids and of DNS, with what is still allowed beside each."""

    def test_domain(self, write: Write, good: str) -> None:
        most = naming.MAX_DOMAIN
        for length, fine in ((most, True), (most + 1, False)):
            domain = "c" * (60 + length % 2) + ".a" * ((length - 60) // 2)
            assert len(domain) == length
            found = problems(write, good.replace("agency.example", domain))
            assert (found == []) == fine, found
        assert f"at most {most}" in found[0].message
        agent = naming.matrix_id(naming.agent_localpart("a" * naming.MAX_AGENT_NAME), "")
        assert len(agent) + most <= 255
        assert len(naming.recipe_host("a" * naming.MAX_NAME, "")) + most <= 253

    def test_operator(self, write: Write, good: str) -> None:
        rest = ":agency.example"
        for length, fine in ((255, True), (256, False)):
            who = "@" + "a" * (length - 1 - len(rest)) + rest
            found = problems(write, good.replace("@alice:agency.example", who))
            assert (found == []) == fine, found
        assert "at most 255" in found[0].message

    @pytest.mark.parametrize("server", ["x..y", "-x.y", "x.y-", "x.y:0", "x.y:65536", "a" * 64])
    def test_servers_that_cannot_be(self, write: Write, good: str, server: str) -> None:
        text = f"{good}services: {{matrix: {{federation: true}}}}\n"
        (one,) = problems(write, text.replace("@alice:agency.example", f"@alice:{server}"))
        assert (one.line, one.field) == (5, "operators[0]")

    @pytest.mark.parametrize("server", ["localhost", "1.2.3.4", "x.y:8448", "xn--ls8h.la"])
    def test_servers_that_can_be(self, write: Write, good: str, server: str) -> None:
        text = f"{good}services: {{matrix: {{federation: true}}}}\n"
        assert problems(write, text.replace("@alice:agency.example", f"@alice:{server}")) == []


@pytest.mark.parametrize("port", [5432, 6443, 2377, 10250, 9236, 3807, 7946])
def test_a_port_of_the_machine_is_refused(write: Write, good: str, port: int) -> None:
    (one,) = problems(write, good.replace("role: pm", f"role: pm\n    port: {port}"))
    assert (one.line, one.field) == (9, "agents.pm.port")
    assert f"{port} is also the port of the service " in one.message
    assert problems(write, good.replace("role: pm", "role: pm\n    port: 20555")) == []


@pytest.mark.parametrize(
    "repository",
    [
        "not a repo !! /../..",
        "hedgedoc",
        "/recipes/x",
        "recipes/",
        "a//b",
        "../x",
        "-x/y",
        "a/.git",
    ],
)
def test_a_repository_that_cannot_be(write: Write, good: str, repository: str) -> None:
    (one,) = problems(write, f'{good}recipes: {{hedgedoc: {{repository: "{repository}"}}}}\n')
    assert (one.line, one.field) == (13, "recipes.hedgedoc.repository")
    assert "owner/name" in one.message


@pytest.mark.parametrize("repository", ["recipes/hedgedoc", "a/b/c.d", "Group_1/x-y"])
def test_a_repository_that_can_be(write: Write, good: str, repository: str) -> None:
    assert problems(write, f"{good}recipes: {{x: {{repository: {repository}}}}}\n") == []
