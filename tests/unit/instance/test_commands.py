"""The commands that need no encryption: check, render, schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from agency import cli

Write = Callable[[str], Path]


# Recipe CI needs these besides.
NEEDED = "".join(f"  {name}: {{enable: true}}\n" for name in ("swarm", "traefik", "edge"))


def agency(*arguments: str) -> int:
    return cli.run(cli.cli, list(arguments), prog_name="agency")


def test_check_finds_no_problem_in_a_valid_instance(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(write(good))
    assert agency("render", root) == 0
    assert agency("check", root) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_check_lists_problems_and_exits_1(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(good.replace("role: pm", "role: pm\n    colour: red"))
    assert agency("check", str(root)) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"{root}/instance.yaml:9: agents.pm.colour: is not a known key")
    assert agency("check", str(root), "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["problems"][0]["line"] == 9


def test_check_reports_a_stale_render(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(write(good))
    assert agency("check", root) == 1
    assert "run `agency render`" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("service", "feature"),
    [
        ("bridge: {enable: true}\n  ci: {enable: true}", "bridge"),
        ("dashboard: {enable: true}\n  ci: {enable: true}", "dashboard"),
    ],
)
def test_check_refuses_an_unwritten_feature_without_preview(
    write: Write, good: str, capsys: pytest.CaptureFixture[str], service: str, feature: str
) -> None:
    text = f"{good}services:\n  {service}\n{NEEDED}"
    root = str(write(text))
    agency("render", root)
    capsys.readouterr()
    assert agency("check", root) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert "instance.yaml:14: services." in line
    assert f"list {feature} under preview" in line

    write(f"{text}preview: [{feature}]\n")
    agency("render", root)
    assert agency("check", root) == 0


@pytest.mark.parametrize("engine", ["builtin", "woodpecker"])
def test_an_engine_that_has_its_program_needs_no_preview(
    write: Write, good: str, engine: str
) -> None:
    text = f"{good}services:\n  ci: {{enable: true, engine: {engine}}}\n{NEEDED}"
    root = str(write(text))
    agency("render", root)
    assert agency("check", root) == 0


def test_preview_knows_its_features(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agency("check", str(write(f"{good}preview: [teapot]\n"))) == 1
    assert "must be one of bridge, browser" in capsys.readouterr().out


def test_decrypt_of_an_ephemeral_instance_is_refused(write: Write, good: str) -> None:
    root = str(write(good))
    agency("render", root)
    assert agency("check", root, "--decrypt") == 3


def test_invalid_instance_renders_nothing(write: Write, good: str) -> None:
    root = write(good.replace("domain: ", "domain: https://"))
    assert agency("render", str(root)) == 1
    assert [path.name for path in root.iterdir()] == ["instance.yaml"]


def test_render_check_exits_1_and_names_the_files(
    write: Write, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(good)
    assert agency("render", "--check", str(root)) == 1
    assert "control.json is missing" in capsys.readouterr().err
    assert agency("render", "--check", "--json", str(root)) == 1
    assert json.loads(capsys.readouterr().out)["differences"][0]["kind"] == "missing"
    assert not (root / "generated").exists()
    assert agency("render", str(root), "--json") == 0
    assert "control.json" in json.loads(capsys.readouterr().out)["files"]
    assert agency("render", "--check", str(root)) == 0


def test_render_fails_if_a_file_is_in_the_way(write: Write, good: str) -> None:
    root = write(good)
    (root / "generated").write_text("mine")
    assert agency("render", str(root)) == 3
    assert (root / "generated").read_text() == "mine"


def test_default_directory(
    write: Write, good: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(good)
    monkeypatch.chdir(tmp_path)
    assert agency("render") == 0
    nested = tmp_path / "instance"
    nested.mkdir()
    (nested / "instance.yaml").write_text(good)
    assert agency("render") == 0
    assert (nested / "generated").is_dir()


def test_the_schema_accepts_what_the_model_accepts(
    good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agency("schema") == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = yaml.safe_load(good)
    assert validator.is_valid(document)
    assert not validator.is_valid({**document, "domian": "x"})
    assert not validator.is_valid({**document, "services": {"k3S": {}}})
    assert validator.is_valid({**document, "services": {"k3s": {}}})
    assert not validator.is_valid({**document, "operators": []})
