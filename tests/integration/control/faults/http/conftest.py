"""Control planes with an HTTP interface, beside the homeserver of faults."""

from __future__ import annotations

from typing import Any

import pytest
from http_api import with_api


@pytest.fixture(scope="module")
def shared_changes() -> dict[str, Any]:
    """The control plane that the tests of a module share has the interface."""
    return with_api(requests_per_minute=60_000)


@pytest.fixture
def served(control: Any, stub: Any) -> Any:
    """A control plane that runs, with an HTTP interface."""
    control.config |= with_api()
    control.start()
    return control
