"""Reading settings: bounds, and messages that name the field and never its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.settings import Strict, load


class Sample(Strict):
    name: str
    port: int = 1


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sample.json"
    path.write_text(text)
    return path


def test_settings_are_read(tmp_path: Path) -> None:
    assert load(written(tmp_path, '{"name": "a", "port": 2}'), Sample) == Sample(name="a", port=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "document"),
        ('{"name": "a", "nmae": "b"}', "nmae"),
        ('{"name": "a", "port": "hunter2"}', "port"),
        ("{}", "name"),
    ],
)
def test_wrong_settings_are_refused_by_field_without_the_value(
    tmp_path: Path, text: str, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInputError) as caught:
        load(path, Sample, hint="write it anew")
    assert told in caught.value.message
    assert "hunter2" not in str(caught.value)
    assert caught.value.where == str(path)
    assert caught.value.hint == "write it anew"


def test_settings_that_are_too_large_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '{"name": "a"}')
    assert load(path, Sample, most=13).name == "a"
    with pytest.raises(BadInputError, match="larger than 12 bytes"):
        load(path, Sample, most=12)


def test_settings_that_are_missing_are_a_missing_prerequisite(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="cannot read the settings"):
        load(tmp_path / "none.json", Sample)
