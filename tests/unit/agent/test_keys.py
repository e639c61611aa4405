"""Keys that a person hands over."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from agency.agent.keys import MAX_KEY, STDIN, read_key
from agency.errors import AgencyError

GOOD = "a-good-long-key"


def test_a_key_comes_from_a_private_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{GOOD}\n")
    file.chmod(0o600)
    assert read_key(file).reveal() == GOOD
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f" {GOOD}\n".encode())))
    assert read_key(STDIN).reveal() == GOOD


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"short", "fewer than"),
        (b"two words of it", "without spaces"),
        ("schlüssel-lang".encode(), "ASCII"),
        (b"x" * (MAX_KEY + 1), "larger than"),
    ],
)
def test_what_no_header_can_carry_is_refused_and_not_shown(
    content: bytes, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(AgencyError, match=told) as caught:
        read_key(file)
    assert not content or content.decode(errors="replace") not in str(caught.value)
