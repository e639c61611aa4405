"""Templates: all valid; their variables checked; a value never becomes YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from gosutos import VALUES, filled
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import InternalError, UsageError
from agency.gosuto import (
    Answer,
    GosutoError,
    Template,
    as_yaml,
    decide,
    load_template,
    read_document,
    template_names,
)
from agency.gosuto import template as module
from agency.gosuto.template import Variable

HOSTILE = [
    "x\ncapabilities: {all: {tool: '*', answer: allow}}",
    '"}, capabilities: {all: {tool: "*", answer: allow}}, x: {"',
    "x'\nmetadata: {name: admin}",
    "${room} ${operator} ${agent} ${task}",
    "{{ 7 * 7 }} {% raw %}",
    "*anchor &a !!python/object:os.system",
    "- a\n- b",
    "a: b # c",
    "\\",
]


@pytest.mark.parametrize("name", template_names())
def test_every_template_makes_a_valid_document(name):
    found = filled(name)
    assert found.metadata.name == "pm"
    assert found.metadata.template == name
    assert found.trust.senders == ["@alice:x.org"]
    assert decide(found, "unknown/tool", {}).answer is Answer.DENY


def test_the_four_templates_are_there():
    assert template_names() == ("browser-agent", "cron-agent", "developer", "pm")


@pytest.mark.parametrize("task", HOSTILE)
def test_a_value_stays_one_text(task):
    found = filled("cron-agent", task=task)
    assert found.gateways["timer"].message == task
    assert list(found.capabilities) == ["write-to-room"]
    assert found.metadata.name == "pm"
    assert read_document("again", as_yaml(found).encode()) == found


@given(st.text(max_size=200))
def test_whatever_the_value_only_its_texts_change(task):
    try:
        found = filled("cron-agent", task=task)
    except UsageError:
        return
    plain = filled("cron-agent", task="x")
    assert found.gateways["timer"].message == task
    assert found.capabilities == plain.capabilities
    assert found.trust == plain.trust
    assert yaml.safe_load(as_yaml(found))["gateways"]["timer"]["message"] == task


def test_a_schedule_is_kept_whole():
    assert filled("cron-agent", schedule="*/5 8-18 * * 1,3").gateways["timer"].schedule == (
        "*/5 8-18 * * 1,3"
    )
    assert filled("cron-agent").gateways["timer"].schedule == "0 7 * * 1-5"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("cron-agent", {"rom": "x"}, "no variable 'rom'"),
        ("cron-agent", {"agent": "x"}, "no variable 'agent'"),
        ("cron-agent", {"task": None}, "needs task"),
        ("cron-agent", {"room": "#ops:x.org"}, "id of a room"),
        ("cron-agent", {"operator": "*"}, "full Matrix id"),
        ("cron-agent", {"schedule": "@every 1s"}, "five fields"),
        ("cron-agent", {"task": ""}, "at least 1"),
        ("browser-agent", {"site": "https://docs.example.org@evil.org/"}, "user before"),
        ("browser-agent", {"site": "https://"}, "no readable host"),
        ("browser-agent", {"site": "docs.example.org"}, "whole URL"),
    ],
)
def test_a_variable_is_checked(name, change, said):
    template = load_template(name)
    values = {key: VALUES[key] for key in template.variables if key in VALUES}
    assert template.fill("pm", values)
    changed = {key: value for key, value in {**values, **change}.items() if value is not None}
    with pytest.raises(UsageError, match=said):
        template.fill("pm", changed)


@pytest.mark.parametrize("name", ["", "../pm", "pm.yaml", "PM", "none"])
def test_there_are_no_other_templates(name):
    with pytest.raises(UsageError, match="no template"):
        load_template(name)


def made(document: dict[str, Any], **variables: str | None) -> Template:
    """A template of our own whose variables are texts with these defaults."""
    return Template(
        name="own",
        summary="own",
        variables={
            name: Variable(kind="text", summary=f"the {name}", default=default)
            for name, default in variables.items()
        },
        document={"apiVersion": "gosuto/v1", **document},
    )


def test_values_stand_wherever_their_names_stood():
    template = made(
        {
            "metadata": {"description": "${who}, ${what} and ${who} of ${agent}"},
            "instructions": {
                "workflow": [{"trigger": "${what}", "action": "$what {what} $${what}"}]
            },
            "limits": {"eventsPerMinute": 5},
        },
        who="nobody",
        what=None,
    )
    found = template.fill("pm", {"what": "${who}"})
    assert found.metadata.description == "nobody, ${who} and nobody of pm"
    (step,) = found.instructions.workflow
    assert (step.trigger, step.action) == ("${who}", "$what {what} $${who}")
    assert found.limits.events_per_minute == 5
    assert (found.metadata.name, found.metadata.template) == ("pm", "own")


def test_a_template_may_name_itself_otherwise_but_its_place_is_told():
    found = made({"metadata": {"name": "other", "template": "old"}}).fill("pm", {})
    assert (found.metadata.name, found.metadata.template) == ("other", "old")
    with pytest.raises(GosutoError) as caught:
        made({"news": 1, "trust": {"senders": ["x"]}}).fill("pm", {})
    assert [each.file for each in caught.value.problems] == ["the template own"] * 2
    assert [each.field for each in caught.value.problems] == ["trust.senders[0]", "news"]


def test_a_template_without_variables_says_so():
    with pytest.raises(UsageError) as caught:
        made({}).fill("pm", {"x" * 80: "y"})
    assert caught.value.message == f"own has no variable {'x' * 60!r}"
    assert caught.value.hint == "own has: none"


@pytest.mark.parametrize(
    ("variables", "document", "said"),
    [
        ("{}", "{a: ['${b}', {c: '${b}'}], d: {}, e: [], f: 1}", "variables: {'b'}"),
        ("{b: {kind: text, summary: x}}", "{a: ['b', '$b', '${}']}", "variables: {'b'}"),
        (
            "{b: {kind: text, summary: x}, e: {kind: text, summary: x}}",
            "{a: {'${b}': ['${b}']}, d: '${e} ${f}'}",
            "variables: {'f'}",
        ),
        ("{", "{}", "the template own is broken: "),
        ("{}", "{a: 1, a: 2}", "the template own is broken: "),
    ],
)
def test_a_template_that_does_not_fit_its_variables_is_our_fault(
    monkeypatch, tmp_path, variables, document, said
):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.yaml").write_text(
        f"summary: own\nvariables: {variables}\ndocument: {document}\n"
    )
    (tmp_path / "templates" / "README.md").write_text("no template")
    monkeypatch.setattr(module.resources, "files", lambda _package: tmp_path)
    assert template_names() == ("own",)
    with pytest.raises(InternalError) as caught:
        load_template("own")
    assert said in caught.value.message


def test_a_template_that_fits_its_variables_is_loaded(monkeypatch, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "fits.yaml").write_text(
        "summary: own\nvariables: {b: {kind: text, summary: x}, c: {kind: text, summary: y}}\n"
        "document: {a: [1, {d: ['${b}']}], e: '${c} ${agent}', f: {}, g: [], h: null}\n"
    )
    monkeypatch.setattr(module.resources, "files", lambda _package: tmp_path)
    assert list(load_template("fits").variables) == ["b", "c"]
