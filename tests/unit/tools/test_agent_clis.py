"""The agents of `make test-agents-own`: what is fetched is what was pinned, and is kept whole."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import agent_clis
import pytest
from agent_clis import PACKAGES, Package, digest_of, fetch, find

from agency.agent.programs.command.registry import AGENTS


@pytest.fixture
def archive() -> bytes:
    """An npm archive of one program."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/bin/prog")
        info.size, info.mode = 5, 0o755
        tar.addfile(info, io.BytesIO(b"whole"))
    return stream.getvalue()


@pytest.fixture
def package(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package that npm, which is simulated here, packs as that archive."""
    real = agent_clis.run

    def run(*argv: str) -> None:
        if argv[0] == "npm":
            place = argv[argv.index("--pack-destination") + 1]
            Path(place, "prog-1.tgz").write_bytes(archive)
        else:
            real(*argv)

    monkeypatch.setattr(agent_clis, "run", run)
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    return Package("prog", "@some/prog", "1", digest)


def test_it_is_unpacked_and_found_again(package: Package, tmp_path: Path) -> None:
    assert find(package, tmp_path) is None
    entry = fetch(package, tmp_path)
    assert (entry / "bin/prog").read_text() == "whole"
    assert (entry / "bin/prog").stat().st_mode & 0o100
    assert find(package, tmp_path) == entry
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_another_archive_than_the_pinned_one_is_refused(package: Package, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        fetch(replace(package, sha512="A" * 86 + "=="), tmp_path)
    assert ended.value.code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["changed", "added", "mode"])
def test_a_damaged_entry_is_removed(damage: str, package: Package, tmp_path: Path) -> None:
    entry = fetch(package, tmp_path)
    program = entry / "bin/prog"
    if damage == "changed":
        program.write_text("other")
    elif damage == "added":
        (entry / "bin/more").write_text("more")
    else:
        program.chmod(0o644)
    assert find(package, tmp_path) is None
    assert not entry.exists()


def test_names_and_contents_cannot_be_exchanged(tmp_path: Path) -> None:
    for name, text in (("one", "x"), ("two", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / text).write_text(text)
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")


def test_every_agent_is_fetched_in_the_version_that_its_renderer_names() -> None:
    fetched = {package.name: package.version for package in PACKAGES}
    assert {name: fetched[name] for name in AGENTS} == {
        name: agent.tested for name, agent in AGENTS.items()
    }
