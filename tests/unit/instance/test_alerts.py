"""The second way of alerts: its keys, its secrets, and the warning where it is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agency import cli
from agency.instance.check import advise, examine
from agency.instance.load import load_instance
from agency.instance.needs import required_secrets
from agency.instance.problems import InstanceError

Write = Callable[[str], Path]
OBSERVED = "services:\n  observability: {enable: true}\n"
MAIL = "  mail: {smarthost: 'mail.example.org:587', from: a@example.org, to: [ops@example.org]"


def of_alerts(root: Path) -> set[str]:
    instance = load_instance(root).instance
    return {spec.name for spec in required_secrets(instance) if "alert" in spec.name}


@pytest.mark.parametrize(
    ("alerts", "secrets"),
    [
        ("", set()),
        ("alerts:\n  webhook: true\n", {"alerts-webhook-url"}),
        (f"alerts:\n{MAIL}}}\n", set()),
        (f"alerts:\n{MAIL}, username: a@example.org}}\n", {"alerts-mail-password"}),
    ],
)
def test_each_way_needs_its_secret(write: Write, good: str, alerts: str, secrets: set[str]) -> None:
    assert of_alerts(write(good + OBSERVED + alerts)) == {"alertmanager-token"} | secrets
    assert of_alerts(write(good + alerts)) == set()  # nothing tells alerts there


def test_without_a_second_way_check_warns_and_is_content(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(good + OBSERVED)
    assert cli.run(cli.cli, ["render", str(root)], prog_name="agency") == 0
    capsys.readouterr()
    assert cli.run(cli.cli, ["check", str(root)], prog_name="agency") == 0
    told = capsys.readouterr().out
    assert f"warning: {root}/instance.yaml:14: alerts: no second way is set" in told
    assert cli.run(cli.cli, ["check", str(root), "--json"], prog_name="agency") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["problems"]) == (True, [])
    assert [one["field"] for one in document["warnings"]] == ["alerts"]


@pytest.mark.parametrize("more", ["alerts: {webhook: true}\n", f"alerts:\n{MAIL}}}\n"])
def test_with_a_second_way_it_does_not(write: Write, good: str, more: str) -> None:
    assert advise(write(good + OBSERVED + more)) == ()
    assert advise(write(good)) == ()  # no alerts are told at all
    assert advise(write("nonsense")) == ()
    assert examine(write("nonsense")) != ()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mail.example.org:587", "mail.example.org"),
        ("mail.example.org:587", "mail.example.org:70000"),
        ("mail.example.org:587", "https://mail.example.org:587"),
        ("from: a@example.org", "from: Agency <a@example.org>"),
        ("from: a@example.org", "from: $HOME@example.org"),
        ("[ops@example.org]", "[]"),
        ("[ops@example.org]", "['ops@example.org, x@example.org']"),
    ],
)
def test_a_wrong_value_is_named(write: Write, good: str, right: str, wrong: str) -> None:
    text = f"{good}{OBSERVED}alerts:\n{MAIL}}}\n"
    load_instance(write(text))
    assert right in text
    with pytest.raises(InstanceError) as caught:
        load_instance(write(text.replace(right, wrong)))
    assert all(one.field.startswith("alerts.mail.") for one in caught.value.problems)
