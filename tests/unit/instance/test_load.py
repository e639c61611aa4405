"""Every kind of invalid instance.yaml: file, line, field, fault and remedy are reported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agency import naming
from agency.instance.load import load_instance
from agency.instance.problems import MAX_SHOWN, InstanceError, Problem

Write = Callable[[str], Path]


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(InstanceError) as caught:
        load_instance(path)
    return caught.value.problems


def test_valid_instance_is_loaded(write: Write, good: str) -> None:
    root = write(good)
    by_directory, by_file = load_instance(root), load_instance(root / "instance.yaml")
    assert by_directory == by_file
    assert by_directory.root == root
    assert by_directory.path == root / "instance.yaml"
    assert by_directory.digest == hashlib.sha256(good.encode()).hexdigest()
    assert [agent.name for agent in by_directory.instance.resolved_agents()] == ["developer", "pm"]


IMAGE_ID = "sha256:" + "a" * 64
# What is replaced by what, then the line, the field and words of the message.
WRONG = [
    ("name: test", "name: test\ndomian: x", 3, "domian", ['did you mean "domain"']),
    ("name: test", "name: test\ncolour: x", 3, "colour", ["the keys here are", "operators"]),
    ("    role: pm", "    role: pm\n    prot: 1", 9, "agents.pm.prot", ['mean "port"']),
    ("name: test", "name: [a]", 2, "name", ["must be text", "not a list"]),
    ("name: test", "name: no", 2, "name", ["must be text", "boolean no", "quotes"]),
    ("name: test", "name: 12", 2, "name", ["must be text", "number 12", "quotes"]),
    ("name: test", "name:", 2, "name", ["must be text", "nothing"]),
    ("name: test", "name: Test", 2, "name", ["a-z, 0-9"]),
    ("version: 1", "version: 2", 1, "version", ["must be 1", "number 2"]),
    ("version: 1", 'version: "1"', 1, "version", ["must be 1"]),
    ("name: test\n", "", 1, "name", ["is missing", "name: agency"]),
    ("    role: pm", "    port: 2000", 7, "agents.pm.role", ["is missing", "role:"]),
    ("    role: pm", "    role: pm\n    port: high", 9, "agents.pm.port", ["whole number"]),
    ("    role: pm", "    role: pm\n    port: 80", 9, "agents.pm.port", ["1024", "80"]),
    ("    role: pm", "    role: pm\n    port: 1e9", 9, "agents.pm.port", ["whole number"]),
    ("    role: pm", "    role: pm\n    uid: 0", 9, "agents.pm.uid", ["4000"]),
    ("    role: pm", "    role: pm\n    enable: 1", 9, "agents.pm.enable", ["true or false"]),
    ("    role: pm", "    role: pm\n    runtime: process", 9, "agents.pm.runtime", ["'docker'"]),
    (
        *("    role: pm", "    role: pm\n    runtime: docker", 9, "agents.pm.runtime"),
        ["names no image", "make agent-image", "docker: {image, imageId}"],
    ),
    ("name: test", "name: test\ndocker: {image: a:1}", 3, "docker.imageId", ["is missing"]),
    (
        *("name: test", f"name: test\ndocker: {{image: a, imageId: {IMAGE_ID}}}", 3),
        *("docker.image", ["a name and a tag", "agency-agent:0.1.0"]),
    ),
    (
        *("name: test", "name: test\ndocker: {image: a:1, imageId: latest}", 3),
        *("docker.imageId", ["sha256:", "make agent-image"]),
    ),
    ("    role: pm", "    role: pm\n    role: x", 9, "agents.pm.role", ["twice", "line 8"]),
    ("  pm:", "  developer:\n    role: a\n  pm:", 11, "agents.developer", ["twice", "line 7"]),
    ("  pm:", "  Bad Name:", 7, "agents.'Bad Name'", ["a-z, 0-9"]),
    ("  pm:", f"  {'a' * 26}:", 7, f"agents.{'a' * 26}", ["1 to 25 characters"]),
    ("  pm:", "  ? [x]\n  : y\n  pm:", 7, "agents", ["a list as a key"]),
    ("  pm:", "  7: {role: x}\n  pm:", 7, "agents", ["key 7", "quotes"]),
    ("agency.example\n", "https://agency.example/\n", 3, "domain", ["without a scheme"]),
    ("agency.example\n", "Agency.Example\n", 3, "domain", ["lower-case"]),
    ("agency.example\n", "localhost\n", 3, "domain", ["such as agency.example.org"]),
    ('"@alice:agency.example"', "alice", 5, "operators[0]", ["@alice:agency.example.org"]),
    ('"@alice:agency.example"', '"@alice"', 5, "operators[0]", ["full Matrix id"]),
    ('"@alice:agency.example"', '"@Alice:x.y"', 5, "operators[0]", ["full Matrix id"]),
    ('  - "@alice:agency.example"', "  []", 4, "operators", ["at least one"]),
    ("  provider: ephemeral", "  provider: vault", 12, "secrets.provider", ["'sops'", "vault"]),
    ("  provider: ephemeral", "  provider: sops", 11, "secrets", ["at least one age recipient"]),
    (
        "  provider: ephemeral",
        "  provider: sops\n  recipients: {a: age1x}",
        13,
        "secrets.recipients.a",
        ["must be an age public key"],
    ),
    (
        "agents:",
        "services: {ci: {max_tests: 3}}\nagents:",
        6,
        "services.ci.max_tests",
        ["maxTests"],
    ),
    ("agents:", "services: {ci: {maxTests: 65}}\nagents:", 6, "services.ci.maxTests", ["64"]),
    ("agents:", "services: {k3S: {enable: true}}\nagents:", 6, "services.k3S", ['mean "k3s"']),
    ("name: test", "name: !!python/name:os.system x", 2, "name", ["tag", "refused"]),
    ("name: test", "<<: {a: b}\nname: test", 2, "", ["merge keys"]),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), WRONG)
def test_invalid_field_is_reported_with_line_and_remedy(
    write: Write, good: str, old: str, new: str, line: int, field: str, words: list[str]
) -> None:
    assert old in good
    root = write(good.replace(old, new, 1))
    (problem,) = problems(root)
    assert (problem.file, problem.line, problem.field) == (
        str(root / "instance.yaml"),
        line,
        field,
    )
    for word in words:
        assert word in problem.message


# Documents that are wrong as a whole: the line and words of the message.
BROKEN = [
    (b"", None, ["empty", "agency init"]),
    (b"# only a comment\n", None, ["empty"]),
    (b"- a\n- b\n", 1, ["mapping", "not a list"]),
    (b"hello\n", 1, ["mapping", "single value"]),
    (b"a: 1\n\tb: 2\n", 2, ["tab", "spaces"]),
    (b"a:\n  b: 1\n \tc: 2\n", 3, ["tab", "spaces"]),
    (b"a: [1\nb: 2\n", 2, ["not YAML"]),
    (b"a: 'x\n", 2, ["not YAML"]),
    (b"a: &x 1\n", 1, ["anchors and aliases"]),
    (b"a: 1\nb: *x\n", 2, ["anchors and aliases"]),
    (b"a: 1\n---\nb: 2\n", 2, ["more than one document"]),
    (b"a: 1\nb: \xff\n", 2, ["UTF-8"]),
    ("a: 1\n".encode("utf-16"), 1, ["UTF-8"]),
    (b"a: 1\nb: \x1b[31m\n", 2, ["U+001B"]),
    (b"a: 1\nb: \x00\n", 2, ["U+0000"]),
    (b"a: " + b"[" * 100_000, 1, ["nested deeper"]),
    (b"{a: " * 30 + b"}" * 30, 1, ["nested deeper"]),
    (b"# " + b"x" * 1024 * 1024, None, ["larger than 1048576 bytes"]),
]


@pytest.mark.parametrize(("content", "line", "words"), BROKEN)
def test_broken_documents(
    tmp_path: Path, content: bytes, line: int | None, words: list[str]
) -> None:
    (tmp_path / "instance.yaml").write_bytes(content)
    found = problems(tmp_path)
    assert found[0].line == line
    for word in words:
        assert word in found[0].message


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 30):
        before = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} [{before}]")
    (tmp_path / "instance.yaml").write_text("\n".join(lines))
    assert all("aliases" in problem.message for problem in problems(tmp_path))


def test_a_missing_file(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path)
    assert problem.file == str(tmp_path / "instance.yaml")
    assert "no such file" in problem.message
    assert "agency init" in problem.message


def test_path_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (fifo,) = problems(tmp_path / "fifo")
    assert "regular file" in fifo.message
    (tmp_path / "instance.yaml").mkdir()
    (directory,) = problems(tmp_path)
    assert "regular file" in directory.message


def test_byte_order_mark_is_accepted(tmp_path: Path, good: str) -> None:
    (tmp_path / "instance.yaml").write_bytes(b"\xef\xbb\xbf" + good.encode())
    assert load_instance(tmp_path).instance.name == "test"


def test_all_problems_come_at_once_in_order(write: Write, good: str) -> None:
    text = (
        good.replace("agency.example\n", "https://agency.example\n", 1)
        .replace('"@alice:agency.example"', "alice")
        .replace("    role: pm", "    role: pm\n    port: 8008\n    colour: x")
    )
    root = write(text)
    with pytest.raises(InstanceError) as caught:
        load_instance(root)
    error = caught.value
    assert [problem.line for problem in error.problems] == [3, 5, 10]
    fields = {problem.field for problem in error.problems}
    assert fields == {"domain", "operators[0]", "agents.pm.colour"}
    assert error.message.splitlines()[0] == "the instance has 3 problems:"
    assert f"{root / 'instance.yaml'}:3: domain: must be" in error.message
    assert error.as_dict()["problems"] == [
        {"file": p.file, "line": p.line, "field": p.field, "message": p.message}
        for p in error.problems
    ]
    assert error.exit_code == 1


def test_message_shows_a_bounded_number_of_problems(write: Write, good: str) -> None:
    root = write(good + "".join(f"k{i}: 1\n" for i in range(MAX_SHOWN + 20)))
    with pytest.raises(InstanceError) as caught:
        load_instance(root)
    assert len(caught.value.problems) == MAX_SHOWN + 20
    assert caught.value.message.endswith("and 20 more")


def test_a_private_key_among_the_recipients_is_not_repeated(write: Write, good: str) -> None:
    private = "AGE-SECRET-KEY-1" + "Q" * 58
    text = good.replace(
        "  provider: ephemeral", f"  provider: sops\n  recipients: {{a: {private}}}"
    )
    with pytest.raises(InstanceError) as caught:
        load_instance(write(text))
    assert "this is a private key" in caught.value.message
    assert private not in str(caught.value.as_dict())


def test_control_characters_of_a_key_are_not_printed(write: Write, good: str) -> None:
    (problem,) = problems(write(good.replace("name: test", 'name: test\n"a\\x1b[31mb": 1')))
    assert "\x1b" not in str(problem)
    assert r"\x1b" in problem.field


class TestConflicts:
    """Parts that are valid alone and conflict together."""

    def test_port_used_twice_is_refused(self, write: Write, good: str) -> None:
        text = good.replace("role: pm", "role: pm\n    port: 9000").replace(
            "role: developer", "role: developer\n    port: 9000"
        )
        (problem,) = problems(write(text))
        assert (problem.line, problem.field) == (12, "agents.developer.port")
        assert "9000 is also the port of agent 'pm'" in problem.message

    def test_uid_used_twice_is_refused(self, write: Write, good: str) -> None:
        text = good.replace("role: pm", "role: pm\n    uid: 5000").replace(
            "role: developer", "role: developer\n    uid: 5000"
        )
        (problem,) = problems(write(text))
        assert (problem.line, problem.field) == (12, "agents.developer.uid")

    def test_port_of_a_service_is_refused(self, write: Write, good: str) -> None:
        port = naming.SERVICE_PORTS["synapse"]
        (problem,) = problems(write(good.replace("role: pm", f"role: pm\n    port: {port}")))
        assert "the service synapse" in problem.message

    def test_port_allocated_to_another_agent_is_refused(self, write: Write, good: str) -> None:
        port = naming.agent_port("pm")
        text = good.replace("role: developer", f"role: developer\n    port: {port}")
        (problem,) = problems(write(text))
        assert f"{port} is also the port of agent 'pm'" in problem.message

    def test_names_that_hash_to_one_number_conflict(
        self, write: Write, good: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(naming, "agent_uid", lambda name: 4242)
        (problem,) = problems(write(good))
        assert (problem.line, problem.field) == (9, "agents.developer")
        assert "allocated from the name" in problem.message
        assert "`uid: ...`" in problem.message

    def test_a_disabled_agent_keeps_its_numbers(self, write: Write, good: str) -> None:
        text = good.replace("role: pm", "role: pm\n    enable: false\n    port: 9000").replace(
            "role: developer", "role: developer\n    port: 9000"
        )
        assert len(problems(write(text))) == 1

    def test_operator_listed_twice_is_refused(self, write: Write, good: str) -> None:
        alice = '  - "@alice:agency.example"\n'
        (problem,) = problems(write(good.replace(alice, alice * 2)))
        assert (problem.line, problem.field) == (6, "operators[1]")
        assert "listed twice" in problem.message

    @pytest.mark.parametrize("localpart", ["agency", "agent-pm", "agent-smith", "agent-"])
    def test_own_matrix_id_as_operator_is_refused(
        self, write: Write, good: str, localpart: str
    ) -> None:
        (problem,) = problems(write(good.replace("@alice", f"@{localpart}")))
        assert "name a person" in problem.message

    @pytest.mark.parametrize("who", ["@agentsmith:agency.example", "@agent-smith:far.example"])
    def test_person_whose_id_is_not_among_the_agents_is_an_operator(
        self, write: Write, good: str, who: str
    ) -> None:
        federated = f"{good}services: {{matrix: {{federation: true}}}}\n"
        path = write(federated.replace("@alice:agency.example", who))
        assert load_instance(path, check_recipients=False).instance.operators == [who]

    def test_conflicts_are_reported_with_other_problems(self, write: Write, good: str) -> None:
        text = good.replace("name: test", "name: 5").replace("role: pm", "role: pm\n    port: 8008")
        assert {problem.field for problem in problems(write(text))} == {"name", "agents.pm.port"}
