"""`agency gosuto`: documents in files."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner
from gosutos import ROOM

from agency.commandline import run
from agency.gosuto.commands import gosuto

VARIABLES = ["operator=@alice:x.org", f"room={ROOM}", "task=Sum it up"]


@pytest.fixture
def call(capsys):
    def call(*argv: str) -> tuple[int, str]:
        status = run(gosuto, list(argv), prog_name="gosuto")
        told = capsys.readouterr()
        return status, told.out + told.err

    return call


@pytest.fixture
def file(tmp_path, call):
    status, text = call("template", "cron-agent", *VARIABLES)
    assert status == 0, text
    path = tmp_path / "pm.yaml"
    path.write_text(text)
    return path


def test_a_document_of_a_template_is_valid_and_says_what_is_not_enforced(call, file):
    status, text = call("validate", str(file))
    assert status == 0
    assert "a valid Gosuto for pm" in text
    assert "warning" not in text
    data = yaml.safe_load(file.read_text())
    data["gateways"]["own"] = {"type": "program", "command": ["x"]}
    other = file.with_name("other.yaml")
    other.write_text(yaml.safe_dump(data))
    assert "warning: gateways.own.command is not enforced yet" in call("validate", str(other))[1]
    status, text = call("validate", str(file), "--json")
    told = json.loads(text)
    assert (status, told["ok"], told["agent"]) == (0, True, "pm")
    assert len(told["sha256"]) == 64


def test_each_source_of_events_that_nothing_takes_is_named(call, file):
    data = yaml.safe_load(file.read_text())
    assert data["gateways"]["timer"]["type"] == "cron", "a positive control: it is taken"
    data["secrets"]["hook-key"] = {}
    data["gateways"] |= {
        "own": {"type": "program", "command": ["x"]},
        "hook": {"type": "webhook", "secret": "hook-key"},
    }
    file.write_text(yaml.safe_dump(data))
    named = ("gateways.hook.secret", "gateways.own.command", "secrets")
    status, said = call("validate", str(file))
    assert status == 0
    warned = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert sorted(line.split()[1] for line in warned) == [*named]
    assert all("is not enforced yet: the agent " in line for line in warned)
    told = json.loads(call("validate", str(file), "--json")[1])
    assert sorted(each.split()[0] for each in told["warnings"]) == [*named]


def test_a_bad_document_is_status_1_with_line_and_field(call, file):
    file.write_text(file.read_text().replace("answer: allow", "answer: alow"))
    line = 1 + file.read_text().split("\n").index("    answer: alow")
    status, text = call("validate", str(file))
    assert status == 1
    assert f"{file}:{line}: capabilities.write-to-room.answer: must be 'allow'" in text
    status, text = call("validate", str(file), "--json")
    told = json.loads(text)
    assert (status, told["ok"]) == (1, False)
    assert [(each["line"], each["field"]) for each in told["problems"]] == [
        (line, "capabilities.write-to-room.answer")
    ]


def test_explain_says_the_answer_and_the_rule(call, file):
    tool = "builtin/send-message"
    status, text = call("explain", str(file), tool, '{"target": "reports"}')
    assert (status, text.splitlines()[0]) == (
        0,
        "allow, by the rule write-to-room: every condition holds",
    )
    status, text = call("explain", str(file), tool, "--json")
    told = json.loads(text)
    assert (status, told["answer"], told["rule"]) == (1, "deny", "write-to-room")
    assert told["reason"] == "target is missing"
    status, text = call("explain", str(file), "web/fetch")
    assert (status, text.strip()) == (1, "deny: no rule allows it")


def test_arguments_that_are_no_object_are_wrong_usage(call, file):
    assert call("explain", str(file), "web/fetch", "[]")[0] == 2
    assert call("explain", str(file), "web/fetch", '{"a":1,"a":2}')[0] == 2


def test_a_file_that_is_not_there_is_status_3(call, tmp_path):
    assert call("validate", str(tmp_path / "none.yaml"))[0] == 3


def test_templates_are_listed_with_their_variables(call):
    status, text = call("template")
    assert status == 0
    assert "cron-agent: " in text
    assert "  task: what it does each time" in text
    assert call("template", "cron-agent", "task=x", "task=y")[0] == 2
    assert call("template", "none")[0] == 2


def test_help_is_there():
    assert "validate" in CliRunner().invoke(gosuto, ["--help"]).output


def test_all_that_the_list_of_templates_says(call):
    status, text = call("template")
    assert (status, text.split("\n")[:4]) == (
        0,
        [
            (
                "browser-agent: An agent that reads pages of one site; what it types or clicks "
                "there is asked for."
            ),
            "  room: the room that it is asked in",
            "  operator: the person that it obeys and asks",
            "  site: the site that it reads, such as https://docs.example.org/",
        ],
    )
    assert "  schedule: when, in five fields as in crontab(5), UTC (default: 0 7 * * 1-5)\n" in text
    status, text = call("template", "--json")
    told = json.loads(text)
    assert [each["name"] for each in told] == ["browser-agent", "cron-agent", "developer", "pm"]
    assert told[1]["variables"]["schedule"] == {
        "kind": "schedule",
        "summary": "when, in five fields as in crontab(5), UTC",
        "default": "0 7 * * 1-5",
    }
    assert set(told[0]) == {"name", "summary", "variables"}


def test_all_that_validate_says(call, file):
    document = json.loads(call("template", "cron-agent", *VARIABLES, "--json")[1])
    assert document["metadata"] == {
        "name": "pm",
        "template": "cron-agent",
        "description": "Does one thing by a schedule.",
    }
    status, text = call("validate", str(file), "--json")
    told = json.loads(text)
    assert (status, set(told)) == (0, {"ok", "agent", "sha256", "warnings"})
    status, text = call("validate", str(file))
    assert text.split("\n")[:2] == [
        f"{file}: a valid Gosuto for pm",
        f"sha256:{told['sha256']}",
    ]
    assert text.split("\n")[2:-1] == [f"warning: {each}" for each in told["warnings"]]


def test_all_that_explain_says(call, file):
    tool = "builtin/send-message"
    status, text = call("explain", str(file), tool, '{"target": "x"}')
    assert (status, text) == (
        1,
        "deny: no rule allows it\n  write-to-room: not about this call: target is another value\n",
    )
    status, text = call("explain", str(file), tool, '{"target": "reports"}', "--json")
    assert (status, json.loads(text)) == (
        0,
        {
            "answer": "allow",
            "rule": "write-to-room",
            "reason": "every condition holds",
            "rules": [
                {"rule": "write-to-room", "answer": "allow", "reason": "every condition holds"}
            ],
        },
    )
    status, text = call("explain", str(file), tool, '{"target": "x"}', "--json")
    assert json.loads(text)["rules"][0]["answer"] is None
    status, text = call("explain", str(file), tool)
    assert status == 1
    assert text.splitlines() == [
        "deny, by the rule write-to-room: target is missing",
        "  write-to-room: deny: target is missing",
    ]


def test_wrong_words_of_template_are_named(call):
    status, text = call("template", "cron-agent", "task")
    assert (status, "'task' is no VARIABLE=VALUE, or is there twice" in text) == (2, True)
    status, text = call("template", "cron-agent", *VARIABLES, "--agent", "helper")
    assert (status, "name: helper" in text) == (0, True)


def test_a_file_that_is_too_large_or_not_there_is_named(call, tmp_path):
    status, text = call("validate", str(tmp_path / "none.yaml"))
    assert (status, "the Gosuto" in text) == (3, True)
    large = tmp_path / "large.yaml"
    large.write_text("#" * 50_000)
    status, text = call("validate", str(large))
    assert (status, text) == (1, f"error: {large}: larger than 49152 bytes\n")
