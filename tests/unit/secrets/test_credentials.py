"""Reading $CREDENTIALS_DIRECTORY."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import InternalError, PrerequisiteError
from agency.secrets.delivery.credentials import DIRECTORY_VARIABLE, MAX_BYTES, read_credential


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"token", "token"), (b"token\n", "token"), (b"token\n\n", "token\n"), (b" t ", " t ")],
)
def test_one_trailing_newline_is_stripped(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "matrix-as-token").write_bytes(content)
    environ = {DIRECTORY_VARIABLE: str(tmp_path)}
    assert read_credential("matrix-as-token", environ).reveal() == value


@pytest.mark.parametrize("environ", [{}, {DIRECTORY_VARIABLE: ""}])
def test_missing_credentials_directory_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(PrerequisiteError, match="CREDENTIALS_DIRECTORY is not set"):
        read_credential("x", environ)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"hunter2\xff\xfe", "not UTF-8"),
        (b"x" * (MAX_BYTES + 1), "larger"),
    ],
)
def test_unusable_credential_file_is_refused(
    tmp_path: Path, content: bytes | None, word: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(PrerequisiteError, match=word) as caught:
        read_credential("token", {DIRECTORY_VARIABLE: str(tmp_path)})
    assert caught.value.where == str(tmp_path / "token")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or content is None


def test_credential_of_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"x" * MAX_BYTES)
    assert len(read_credential("token", {DIRECTORY_VARIABLE: str(tmp_path)}).reveal()) == MAX_BYTES


@pytest.mark.parametrize("name", ["../token", "a/b", "", ".hidden", "A"])
def test_name_outside_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError):
        read_credential(name, {DIRECTORY_VARIABLE: str(tmp_path)})
