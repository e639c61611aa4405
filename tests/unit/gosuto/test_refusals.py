"""Refusals in full: text and hint as a person reads them, and what is just inside each limit."""

from __future__ import annotations

import pytest
from gosutos import VALUES, filled

from agency.canonical import sha256_hex
from agency.errors import BadInputError, UsageError
from agency.gosuto import GosutoError, edit, load_template, read_canonical, read_document
from agency.gosuto.decision import MAX_ARGUMENTS, read_arguments
from agency.gosuto.document import MAX_BYTES
from agency.gosuto.urls import MAX_URL, UnreadableError, Url, read_host, read_url
from agency.yaml_source import Problem

START = "apiVersion: gosuto/v1\nmetadata: {name: pm}\n"
NO_URL = "is not a whole URL that begins with http://, https:// or ws"
NO_CHARACTER = "has a character that no URL has; hosts are written with xn--"
OTHER_NOTATION = "has a host that is a number in another notation"
IN_SIX = "has an address of IPv4 inside one of IPv6"
NEEDS_NONE = "has an escape of a character that needs none"
USER = "must be a full Matrix id such as @alice:agency.example.org"
HIDES = "has an escape that hides a separator or a control character"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://a.org/" + "a" * MAX_URL, "has more than 8192 characters"),
        ("https://a.org/ü", NO_CHARACTER),
        ("https://a.org/ b", NO_CHARACTER),
        ("https://a.org\\b", NO_CHARACTER),
        ("a.org", NO_URL),
        ("ftp://a.org/", NO_URL),
        ("https:/a.org/", NO_URL),
        ("https://u@a.org/", "has a user before the host"),
        ("https://@/", "has a user before the host"),
        ("https:///x", "has no readable host"),
        ("https://a.org:x/", "has no readable host"),
        ("https://[::1/", "has no readable host"),
        ("https://a.org:/", "has no readable port"),
        ("https://a.org:0/", "has no readable port"),
        ("https://a.org:080/", "has no readable port"),
        ("https://a.org:65536/", "has no readable port"),
        ("https://a.org:100000/", "has no readable port"),
        ("https://127.1/", OTHER_NOTATION),
        ("https://0x7f000001/", OTHER_NOTATION),
        ("https://a.0x/", OTHER_NOTATION),
        ("https://a..org/", "has a host that is no plain name"),
        ("https://-a.org/", "has a host that is no plain name"),
        ("https://a-.org/", "has a host that is no plain name"),
        (f"https://{'a' * 64}.org/", "has a host that is no plain name"),
        (f"https://{'a.' * 126}org/", "has a host that is no plain name"),
        ("https://[::g]/", "has no readable host"),
        ("https://[1::2::3]/", "has a host that is no address"),
        ("https://[::ffff:1.2.3.4]/", IN_SIX),
        ("https://[2002:102:304::]/", IN_SIX),
        ("https://[2001:0:102:304::1]/", IN_SIX),
        ("https://a.org//b", "has two slashes in its path"),
        ("https://a.org/b//", "has two slashes in its path"),
        ("https://a.org/.", "has a dot segment in its path"),
        ("https://a.org/b/../c", "has a dot segment in its path"),
        ("https://a.org/b;c", "has a parameter in its path"),
        ("https://a.org/%", "has a percent sign that begins no escape"),
        ("https://a.org/%4", "has a percent sign that begins no escape"),
        ("https://a.org/%4g", "has a percent sign that begins no escape"),
        ("https://a.org/%41", NEEDS_NONE),
        ("https://a.org/%7E", NEEDS_NONE),
        ("https://a.org/%2f", HIDES),
        ("https://a.org/%5C", HIDES),
        ("https://a.org/%25", HIDES),
        ("https://a.org/%3F", HIDES),
        ("https://a.org/%23", HIDES),
        ("https://a.org/%3B", HIDES),
        ("https://a.org/%00", HIDES),
        ("https://a.org/%1F", HIDES),
        ("https://a.org/%7F", HIDES),
    ],
)
def test_why_a_url_is_not_read(text, said):
    with pytest.raises(UnreadableError) as caught:
        read_url(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.org", Url("http", "a.org", 80, (), False)),
        ("HTTPS://A.org/", Url("https", "a.org", 443, (), False)),
        ("ws://a.org/x/", Url("ws", "a.org", 80, ("x",), False)),
        ("wss://a.org/x?", Url("wss", "a.org", 443, ("x",), True)),
        ("https://a.org?q#f", Url("https", "a.org", 443, (), True)),
        ("https://a.org/x#f?g", Url("https", "a.org", 443, ("x",), False)),
        ("https://a.org:1/", Url("https", "a.org", 1, (), False)),
        ("https://a.org:65535/", Url("https", "a.org", 65535, (), False)),
        ("https://1.2.3.4/", Url("https", "1.2.3.4", 443, (), False)),
        ("https://[2001:DB8::0:1]:8/", Url("https", "[2001:db8::1]", 8, (), False)),
        ("https://a.org/%c3%a4/%20", Url("https", "a.org", 443, ("%C3%A4", "%20"), False)),
        ("https://a.org/...", Url("https", "a.org", 443, ("...",), False)),
        (
            "https://a_b.org/" + "a" * (MAX_URL - 16),
            Url("https", "a_b.org", 443, ("a" * (MAX_URL - 16),), False),
        ),
    ],
)
def test_what_is_read_of_a_url(text, url):
    assert read_url(text) == url


def test_the_longest_host_is_read():
    name = f"{'a.' * 125}org"
    assert len(name) == 253
    assert read_host(name) == name
    assert read_host(f"{'a' * 63}.org") == f"{'a' * 63}.org"


AS_OBJECT = 'write them as a JSON object, such as {"url": "https://example.org/"}'


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[]", "the arguments are not a JSON object", AS_OBJECT),
        ('{"a":NaN}', "the arguments are not JSON: NaN is no number of JSON", AS_OBJECT),
        ('{"a":1,"a":2}', "the arguments are not JSON: a key comes twice", AS_OBJECT),
        (
            "{1}",
            "the arguments are not JSON: " + "Expecting property name enclosed in double quotes",
            AS_OBJECT,
        ),
        ("x" * (MAX_ARGUMENTS + 1), "the arguments have more than 65536 characters", None),
    ],
)
def test_why_arguments_are_not_read(text, said, hint):
    with pytest.raises(UsageError) as caught:
        read_arguments(text)
    assert (caught.value.message, caught.value.hint) == (said, hint)


def test_nested_arguments_end_in_a_refusal_of_one_line():
    with pytest.raises(UsageError) as caught:
        read_arguments("[" * 20_000)
    assert caught.value.message.startswith("the arguments are not JSON: maximum recursion depth")
    assert len(caught.value.message) < 140
    assert caught.value.hint == AS_OBJECT


def test_the_longest_arguments_are_read():
    text = '{"a":"' + "x" * (MAX_ARGUMENTS - 8) + '"}'
    assert len(text) == MAX_ARGUMENTS
    assert set(read_arguments(text)) == {"a"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the bytes of the Gosuto are not JSON, or a key is twice"),
        (
            b'{"metadata": 1, "metadata": 2}',
            "the bytes of the Gosuto are not JSON, or a key is twice",
        ),
        (b"[" * 20_000, "the bytes of the Gosuto are not JSON, or a key is twice"),
        (b"[]", "the bytes of the Gosuto are not a JSON object"),
        (b"{}", "not a Gosuto of gosuto/v1: apiVersion: Field required"),
        (
            b'{"apiVersion":"gosuto/v1","metadata":{"name":"pm"},"trust":{"senders":["@a:b","x"]}}',
            f"not a Gosuto of gosuto/v1: trust.senders.1: Value error, {USER}, not 'x'",
        ),
        (
            b'{"apiVersion":"gosuto/v1","metadata":{"name":"pm"},"limits":{"requests_per_minute":5}}',
            "not a Gosuto of gosuto/v1: limits.requests_per_minute: Extra inputs are not permitted",
        ),
    ],
)
def test_why_bytes_are_not_read(data, said):
    with pytest.raises(BadInputError) as caught:
        read_canonical(data, sha256_hex(data))
    assert str(caught.value) == said


def test_bytes_with_rules_broken_between_fields_are_refused_with_the_fields():
    data = (
        b'{"apiVersion":"gosuto/v1","metadata":{"name":"pm"},"persona":{"apiKey":"k"},'
        b'"gateways":{"g":{"type":"webhook","secret":"s"}}}'
    )
    with pytest.raises(GosutoError) as caught:
        read_canonical(data, sha256_hex(data))
    assert set(caught.value.problems) == {
        Problem("gosuto", None, "persona.apiKey", "is k, which is not under secrets; add it there"),
        Problem(
            "gosuto", None, "gateways.g.secret", "is s, which is not under secrets; add it there"
        ),
    }


def test_bytes_with_another_digest_are_refused():
    with pytest.raises(BadInputError) as caught:
        read_canonical(b"{}", "0" * 64)
    assert str(caught.value) == "the bytes of the Gosuto do not have the digest that was named"


def test_the_problems_of_a_document_are_counted_and_a_long_list_is_cut():
    many = "".join(f"x{number}: 1\n" for number in range(25))
    for lines, first, last in [
        (1, "the Gosuto has 1 problem:", "f:3: x0: is not a known key"),
        (2, "the Gosuto has 2 problems:", "f:4: x1: is not a known key"),
        (20, "the Gosuto has 20 problems:", "f:22: x19: is not a known key"),
        (21, "the Gosuto has 21 problems:", "and 1 more"),
        (25, "the Gosuto has 25 problems:", "and 5 more"),
    ]:
        with pytest.raises(GosutoError) as caught:
            read_document("f", (START + "".join(many.splitlines(True)[:lines])).encode())
        told = str(caught.value).split("\n")
        assert told[0] == first
        assert told[-1].startswith(last)
        assert len(told) == 1 + min(lines, 21)
        kept = caught.value.as_dict()["problems"]
        assert isinstance(kept, list)
        assert len(kept) == lines
        assert kept[0] == {"file": "f", "line": 3, "field": "x0", "message": kept[0]["message"]}


def test_a_document_that_is_short_to_write_and_long_in_full_is_refused():
    rules = "".join(f"  r{number}: {{tool: builtin/x, answer: deny}}\n" for number in range(200))
    steps = "".join(f"  - {{trigger: {'a' * 600}, action: {'b' * 500}}}\n" for _ in range(34))
    text = f"{START}capabilities:\n{rules}instructions:\n  workflow:\n{steps}"
    assert len(text) < MAX_BYTES
    with pytest.raises(GosutoError) as caught:
        read_document("f", text.encode())
    (problem,) = caught.value.problems
    assert problem.message == "is larger than 49152 bytes"


NO_EDIT = "write FIELD=VALUE, such as limits.eventsPerMinute=10"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("limits", "'limits' is no edit", NO_EDIT),
        ("9" * 70, f"{'9' * 60!r} is no edit", NO_EDIT),
        ("limits..x=1", "'limits..x' is no path of a field", None),
        ("limits.eventsPerMinute=", "there is no limits.eventsPerMinute to remove", None),
        ("persona.a.b=", "there is no persona.a.b to remove", None),
        ("trust.senders-=@c:x.org", "trust.senders does not hold '@c:x.org'", None),
        ("trust.senders-=" + "c" * 80, f"trust.senders does not hold {'c' * 60!r}", None),
        ("persona.prompt+=x", "persona.prompt is no list", "write persona.prompt=VALUE"),
        ("metadata.name.a.b=x", "metadata.name.a.b is below name, which holds no fields", None),
    ],
)
def test_why_an_edit_is_refused(text, said, hint):
    with pytest.raises(UsageError) as caught:
        edit(filled("developer"), [text])
    assert (caught.value.message, caught.value.hint) == (said, hint)


def test_an_edit_that_makes_an_invalid_document_names_the_field():
    for text, said in [
        ("limits.requestsPerMinute=many", "limits.requestsPerMinute: must be a whole number"),
        ("trust.senders=x", "trust.senders: must be a list"),
        ('persona={"prompt":1}', "persona.prompt: must be text, not the number 1"),
    ]:
        with pytest.raises(GosutoError) as caught:
            edit(filled("developer"), [text])
        (problem,) = caught.value.problems
        assert str(problem).startswith(f"the edit: {said}")


@pytest.mark.parametrize(
    ("name", "values", "said", "hint"),
    [
        (
            "developer",
            {"rom": "x"},
            "developer has no variable 'rom'",
            "developer has: room, operator, repository, forge, kind, project, settings",
        ),
        (
            "developer",
            {"room": VALUES["room"]},
            "developer needs operator: the person that it obeys and asks",
            "write operator=VALUE",
        ),
        (
            "developer",
            {"room": "x", "operator": "@a:b"},
            "room must be the id of a room such as !abc:agency.example.org, not 'x'",
            None,
        ),
        (
            "cron-agent",
            {"room": VALUES["room"], "operator": "@a:b", "task": ""},
            "task String should have at least 1 character",
            None,
        ),
    ],
)
def test_why_a_template_is_not_filled(name, values, said, hint):
    with pytest.raises(UsageError) as caught:
        load_template(name).fill("pm", values)
    assert (caught.value.message, caught.value.hint) == (said, hint)


def test_a_template_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(UsageError) as caught:
        load_template("x" * 80)
    assert caught.value.message == f"there is no template {'x' * 60!r}"
    assert caught.value.hint == "there are: browser-agent, cron-agent, developer, pm"
