"""`agency gosuto`: documents in files."""

from __future__ import annotations

import json

import pytest
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
    assert "warning: trust is not enforced yet" in text
    status, text = call("validate", str(file), "--json")
    told = json.loads(text)
    assert (status, told["ok"], told["agent"]) == (0, True, "pm")
    assert len(told["sha256"]) == 64


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
