"""Plan of a trial: values of a template's variables, and what the proxy is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.agent.proxy.policy import narrowed
from agency.agent.trying.plan import (
    PERSON,
    ROOM,
    RealModel,
    check_model,
    model_name,
    proxy_config,
    variables,
)
from agency.errors import UsageError
from agency.gosuto import load_template, read_document

SITE = "https://docs.example.org/"


def test_the_terminal_stands_for_rooms_and_people() -> None:
    form = load_template("browser-agent")
    found = variables(form, {"site": SITE}, {}, None)
    assert found == {"room": ROOM, "operator": PERSON, "site": SITE}
    assert form.fill("trial", found).approvals.approvers == [PERSON]


def test_what_is_given_counts_more_than_the_script_and_that_more_than_a_default() -> None:
    form = load_template("cron-agent")
    found = variables(form, {"task": "mine"}, {"task": "its", "schedule": "1 1 * * *"}, None)
    assert (found["task"], found["schedule"]) == ("mine", "1 1 * * *")
    assert variables(form, {"task": "mine"}, {}, None)["schedule"] == "0 7 * * 1-5"


def test_a_variable_without_a_value_is_asked_for_or_refused() -> None:
    form, asked = load_template("browser-agent"), []

    def ask(name: str, summary: str) -> str:
        asked.append((name, summary))
        return SITE

    assert variables(form, {}, {}, ask)["site"] == SITE
    assert [name for name, _ in asked] == ["site"]
    with pytest.raises(UsageError, match="browser-agent needs site") as caught:
        variables(form, {}, {}, None)
    assert caught.value.hint == "add --var=site=VALUE"


@pytest.mark.parametrize("persona", ["{}", "{model: big, provider: acme}"])
@pytest.mark.parametrize("real", [None, RealModel("large", "https://models.example")])
def test_the_model_that_the_gosuto_names_is_the_one_that_is_offered(
    persona: str, real: RealModel | None, tmp_path: Path
) -> None:
    text = f"apiVersion: gosuto/v1\nmetadata: {{name: pm}}\npersona: {persona}\n"
    document = read_document("test", text.encode())
    config = proxy_config(document, real, "http://127.0.0.1:1", tmp_path, "0" * 64, 100)
    account = narrowed(config.accounts["pm"], document, config.models)
    assert account.models == (model_name(document, real),)
    assert account.tokens_per_day == 100
    (model,) = config.models.values()
    assert model.upstream == ("scripted" if real is None else "large")


@pytest.mark.parametrize(
    ("name", "url", "told"),
    [
        ("large", "http://models.example", "--model-url: must be https"),
        ("large", "https://u:p@models.example", "--model-url"),
        ("no name", "https://models.example", "--model: "),
    ],
)
def test_a_model_that_the_proxy_would_not_take_is_refused(name: str, url: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_model(RealModel(name, url))
    check_model(RealModel("large", "https://models.example"))
