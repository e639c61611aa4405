"""A gateway process for each test; its sockets' paths are short."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gatewaying import Running, running


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        yield Path(directory)


@pytest.fixture
async def gateway(place: Path):
    with running(place) as gateway:
        await gateway.start()
        yield gateway


__all__ = ["Running"]
