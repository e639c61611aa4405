from __future__ import annotations

from pathlib import Path

import pytest
from backing import Machine, needs_restic

from agency.secrets import DIRECTORY_VARIABLE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(needs_restic)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path).make()
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(made.credentials))
    return made
