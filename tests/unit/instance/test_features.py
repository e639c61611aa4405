"""Features of agents in instance.yaml: read, refused where wrong, their secrets known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.instance.check import advise
from agency.instance.load import load_instance
from agency.instance.needs import required_secrets
from agency.instance.problems import InstanceError
from agency.instance.render import rendered_files

Write = Callable[[str], Path]
AGENT = """\
    role: pm
    fullName: Petra Müller
    email: petra@example.org
    limits: {memoryMib: 512, cpus: 0.5}
    egress:
      - {to: 192.0.2.0/24}
    workspace: {enable: true, remote: "git@git.example.org:team/notes.git"}
    browser: {enable: true, origins: ["https://docs.example.org"]}
    taskLoop:
      enable: true
      scheduleAt: "Mon..Fri *-*-* 06:00:00"
      issues: {kind: gitea, url: "https://git.example.org/", projects: [team/notes]}
    codingAgent: {enable: true, reviews: [[make, test]]}
"""


@pytest.fixture
def featured(good: str) -> str:
    text = good.replace("    role: pm\n", AGENT)
    assert text != good
    return text


def refusal(path: Path) -> str:
    with pytest.raises(InstanceError) as caught:
        load_instance(path)
    return str(caught.value)


def test_what_it_says_reaches_the_host(write: Write, featured: str) -> None:
    files = rendered_files(load_instance(write(featured)))
    agents = json.loads(files["instance.json"])["agents"]
    assert agents["pm"]["limits"] == {"memoryMib": 512, "cpus": 0.5, "tasks": None}
    assert agents["pm"]["egress"] == [{"to": "192.0.2.0/24", "protocol": "tcp", "port": 443}]
    assert agents["pm"]["taskLoop"]["issues"]["url"] == "https://git.example.org"
    assert agents["pm"]["codingAgent"]["reviews"] == [["make", "test"]]
    assert agents["developer"]["workspace"] == {"enable": False, "remote": None}
    found = load_instance(write(featured)).instance.agents
    assert found["pm"].features == ("workspace", "browser", "taskLoop", "codingAgent")
    assert found["developer"].features == ()


def test_only_the_issues_of_a_forge_need_a_token(write: Write, featured: str, good: str) -> None:
    def tokens(text: str) -> list[tuple[str, str]]:
        needed = required_secrets(load_instance(write(text)).instance)
        return [(one.name, one.cls.value) for one in needed if "issues" in one.name]

    assert tokens(featured) == [("agent-pm-issues-token", "A1")]
    assert tokens(good) == []


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("192.0.2.0/24", "git.example.org", "an address or a network"),
        ("192.0.2.0/24", "192.0.2.1/24", "an address or a network"),
        ("git@git.example.org:team", "ext::sh -c team", "must be a remote"),
        ('"git@git.example.org:team/notes.git"', '"--upload-pack=x"', "must be a remote"),
        (
            '"git@git.example.org:team/notes.git"',
            '"https://me:word@git.example.org/x"',
            "holds a password",
        ),
        ("https://docs.example.org", "https://docs.example.org/page", "must be an origin"),
        ("Mon..Fri *-*-* 06:00:00", "Mon\\nExecStart=/x", "must be a calendar event"),
        ('"https://git.example.org/"', '"http://git.example.org"', "must be an address"),
        ("petra@example.org", "petra", "must be a mail address"),
        ("Petra Müller", '"Petra <root>"', "must be a name"),
        ("projects: [team/notes]", "projects: []", "at least one"),
        ("cpus: 0.5", "cpus: 0", "greater than 0"),
        ("memoryMib: 512", "memoryMib: 8", "64"),
        (
            "workspace: {enable: true, ",
            "workspace: {enable: false, ",
            "taskLoop needs a workspace; add `workspace: {enable: true}`",
        ),
        (
            "taskLoop:\n      enable: true",
            "taskLoop:\n      enable: false",
            "taskLoop.issues: the task loop is off",
        ),
        (
            "role: pm\n    fullName",
            "role: pm\n    runtime: docker\n    fullName",
            "codingAgent and limits and egress: for agents that are units of a host",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_what_would_be_right(
    write: Write, featured: str, right: str, wrong: str, says: str
) -> None:
    assert right in featured
    said = refusal(write(featured.replace(right, wrong)))
    assert says in said
    assert "word@" not in said, "a password is not repeated"


@pytest.mark.parametrize("feature", ["taskLoop", "workspace"])
def test_a_container_is_refused_work_by_list_with_the_reason_and_what_to_do(
    write: Write, good: str, feature: str
) -> None:
    asked = "    workspace: {enable: true}\n"
    asked += "    taskLoop: {enable: true}\n" if feature == "taskLoop" else ""
    image = f"docker: {{image: agency-agent:1, imageId: 'sha256:{'0' * 64}'}}\n"
    contained = good.replace("    role: pm\n", "    role: pm\n    runtime: docker\n") + image
    load_instance(write(contained))  # a positive control: a container alone is fine
    said = refusal(write(contained.replace("runtime: docker\n", f"runtime: docker\n{asked}")))
    assert feature in said
    for part in ("no timer, git, way to a remote or forge", "timers of its Gosuto", "workspace.md"):
        assert part in said
    load_instance(write(good.replace("    role: pm\n", f"    role: pm\n{asked}")))  # as a unit


PROGRAM = """\
    program:{}
      model: small
      budget: {{tokensPerDay: 1000, usdPerDay: 1}}
"""
OFFERED = """\
models:
  providers: {house: {kind: openai, url: "http://127.0.0.1:8029"}}
  offered: {small: {provider: house, price: {input: 0, output: 0}}}
"""


def test_a_task_loop_that_nothing_works_for_is_told(write: Write, good: str) -> None:
    def advice(program: str) -> list[tuple[str, str]]:
        loop = "    workspace: {enable: true}\n    taskLoop: {enable: true}\n"
        text = good.replace("    role: pm\n", f"    role: pm\n{loop}{program}") + OFFERED
        path = write(text)
        load_instance(path)
        return [(one.field, one.message) for one in advise(path) if "tasks" in one.message]

    command = PROGRAM.format("\n      kind: command\n      agent: opencode\n      run: [/opt/x/y]")
    for program, why in ((command, "a command-line agent does none"), ("", "it has no program")):
        ((field, told),) = advice(program)
        assert field == "agents.pm.taskLoop"
        assert why in told
        assert "agency.agents.pm.taskLoop.command in host.nix" in told
    assert advice(PROGRAM.format("")) == []


def test_coding_needs_a_workspace_too(write: Write, good: str) -> None:
    text = good.replace("    role: pm\n", "    role: pm\n    codingAgent: {enable: true}\n")
    assert "codingAgent needs a workspace" in refusal(write(text))
