"""A package takes from another only its public names."""

from __future__ import annotations

from pathlib import Path

import pytest
import surfaces


def tree(tmp_path: Path, source: str) -> Path:
    for package in ("one", "two"):
        (tmp_path / "agency" / package).mkdir(parents=True)
        (tmp_path / "agency" / package / "__init__.py").write_text("")
    (tmp_path / "agency" / "one" / "part.py").write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        "from agency.two import name",
        "from agency.one.other import name",
        "from agency.errors import AgencyError",
        "import json",
    ],
)
def test_public_names_and_own_parts_may_be_imported(tmp_path: Path, source: str) -> None:
    assert surfaces.main([str(tree(tmp_path, source))]) == 0


@pytest.mark.parametrize(
    "source",
    [
        "from agency.two.inside import name",
        "import agency.two.inside",
        "def late():\n    from agency.two.inside.deep import name",
    ],
)
def test_an_import_from_inside_another_package_is_named(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert surfaces.main([str(tree(tmp_path, source))]) == 1
    assert "agency/one/part.py" in capsys.readouterr().out


def test_the_product_keeps_to_it() -> None:
    assert surfaces.violations(surfaces.ROOT / "pyscripts") == []
