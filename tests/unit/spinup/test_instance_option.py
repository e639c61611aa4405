"""Option --instance of `agency up` and `spinup_smoke`: found as every other command finds it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agency.spinup.options import instance_options


@pytest.mark.parametrize(
    ("here", "found"),
    [("", "."), ("secrets", "{root}"), ("..", "instance")],
    ids=["in it", "below it", "above it"],
)
def test_the_instance_is_found_from_where_one_stands(
    here: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "instance"
    (root / "secrets").mkdir(parents=True)
    (root / "instance.yaml").write_text("version: 1\n")
    monkeypatch.chdir(root / here)

    @click.command()
    @instance_options
    def command(instance: Path, age_key: Path | None, ports: dict[str, int]) -> None:
        click.echo(instance)

    assert CliRunner().invoke(command, []).output.strip() == found.format(root=root)
    assert CliRunner().invoke(command, ["--instance", "/else"]).output.strip() == "/else"
