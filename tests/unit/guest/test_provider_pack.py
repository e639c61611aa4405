"""The OpenID provider's pack: what it is made of is pinned, and names no place to get it from."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from agency.errors import InternalError, PrerequisiteError
from agency.guests.images.provider import (
    NAME,
    PACKAGE,
    archive_of,
    hold_provider,
    pack_digest,
    pinned_version,
)

LOCK = json.loads((PACKAGE / "package-lock.json").read_text())
OTHERS = {name: one for name, one in LOCK["packages"].items() if name}
DEBIAN_NODE = 18


def test_the_lock_names_no_host() -> None:
    text = (PACKAGE / "package-lock.json").read_text()
    assert "://" not in text
    assert "resolved" not in text
    assert "://" not in (PACKAGE / "package.json").read_text()


@pytest.mark.parametrize("name", OTHERS)
def test_every_package_is_pinned_by_its_digest(name: str) -> None:
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", OTHERS[name]["integrity"])
    assert re.match(r"\d+\.\d+\.\d+", OTHERS[name]["version"])
    assert "hasInstallScript" not in OTHERS[name]


def test_the_manifest_and_the_lock_agree() -> None:
    manifest = json.loads((PACKAGE / "package.json").read_text())
    assert manifest["dependencies"] == {NAME: pinned_version()}
    assert LOCK["packages"][""]["dependencies"] == manifest["dependencies"]


def test_the_guest_s_node_is_new_enough() -> None:
    wanted = {one["engines"]["node"] for one in OTHERS.values() if "node" in one.get("engines", {})}
    oldest = [
        min(int(version) for version in re.findall(r"(?:>=|\^)\s*(\d+)", words)) for words in wanted
    ]
    assert oldest
    assert max(oldest) <= DEBIAN_NODE


@pytest.mark.parametrize("file", ["package.json", "package-lock.json", "provider.mjs"])
def test_every_file_changes_the_digest(tmp_path: Path, file: str) -> None:
    copy = tmp_path / "package"
    shutil.copytree(PACKAGE, copy)
    assert pack_digest(copy) == pack_digest(PACKAGE)
    with (copy / file).open("a") as handle:
        handle.write(" ")
    assert pack_digest(copy) != pack_digest(PACKAGE)


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "index.js").write_text("x")
        (tmp_path / name / "lib" / "index.d.ts").write_text(name)
    (tmp_path / "two" / "lib" / "index.js").chmod(0o600)
    archive = archive_of(tmp_path / "one")
    assert archive == archive_of(tmp_path / "two")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        seen = [(entry.name, entry.mode, entry.uid) for entry in tar]
    assert seen == [("lib", 0o755, 0), ("lib/index.js", 0o644, 0)]


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.js").symlink_to("/etc/passwd")
    with pytest.raises(InternalError, match=r"index\.js"):
        archive_of(tmp_path)


@pytest.mark.asyncio
async def test_without_npm_it_is_said_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="'npm' is not installed") as caught:
        async with hold_provider(tmp_path / "state", marker="test"):
            pass
    assert caught.value.hint is not None
    assert "Debian: npm" in caught.value.hint
    left = [path.name for path in (tmp_path / "state" / "providers").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
