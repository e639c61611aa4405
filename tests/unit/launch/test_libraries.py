"""The libraries' digest is of what is installed, and the private copy is of exactly that."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.spinup.launch import kept as module
from agency.spinup.launch.kept import broken_kept, keep
from agency.spinup.launch.libraries import installed_libraries


def install(site: Path, name: str, files: dict[str, str], *requires: str) -> Path:
    """Install a distribution as pip does, with a RECORD of its files."""
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{lines}\nx\n")
    (info / "INSTALLER").write_text("pip\n")
    record = [f"{info.name}/RECORD,,", f"{info.name}/INSTALLER,sha256=x,4", "../../../bin/x,,"]
    for path, text in {**files, f"{info.name}/METADATA": (info / "METADATA").read_text()}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record.append(f"{path},sha256={digest.rstrip('=')},{len(text)}")
    (info / "RECORD").write_text("\n".join(record) + "\n")
    return info


@pytest.fixture
def site(tmp_path: Path) -> Path:
    place = tmp_path / "site"
    install(
        place, "agency", {"agency/__init__.py": ""}, "One.Library>=1", 'two; extra == "full"',
        'tool; extra == "dev"', 'absent; python_version < "3"', "three[more]>=1,<2",
    )  # fmt: skip
    install(place, "one_library", {"one/__init__.py": "x = 1\n"}, "agency[full]")
    install(place, "two", {"two.py": "y = 2\n", "two-path.pth": "import os\n"})
    install(place, "three", {"three.py": ""}, 'four; extra == "more"', 'tool; extra == "other"')
    install(place, "four", {"four/data.txt": "z"})
    install(place, "tool", {"tool.py": ""})
    return place


def paths(site: Path) -> set[str]:
    return {file.path for file in installed_libraries((site,)).files}


def test_the_files_are_those_of_what_is_required(site: Path) -> None:
    modules = {path for path in paths(site) if "dist-info" not in path}
    assert modules == {"one/__init__.py", "two.py", "three.py", "four/data.txt"}


def test_anyone_can_recompute_the_digest(site: Path) -> None:
    found = installed_libraries((site,))
    lines = "".join(
        f"{hashlib.sha256((site / path).read_bytes()).hexdigest()} {path}\0"
        for path in sorted(paths(site), key=str.encode)
    )
    assert found.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_another_library_has_another_digest(site: Path) -> None:
    before = installed_libraries((site,)).digest
    (site / "stray.py").write_text("")
    (site / "one/stray.py").write_text("")
    assert installed_libraries((site,)).digest == before, "it is in no list, and is not copied"
    install(site, "absent", {"absent.py": ""})
    assert installed_libraries((site,)).digest != before


def test_a_library_without_a_list_is_refused(site: Path) -> None:
    (site / "two-1.dist-info/RECORD").unlink()
    with pytest.raises(PrerequisiteError, match="without a list of its files"):
        installed_libraries((site,))


@pytest.mark.parametrize("line", ["two.py,,6", "two.py,md5=abc,6", "two.py,sha256=abc,6", "two.py"])
def test_a_file_without_a_digest_is_refused(line: str, site: Path) -> None:
    (site / "two-1.dist-info/RECORD").write_text(line + "\n")
    with pytest.raises(PrerequisiteError, match=r"no SHA-256 of two\.py"):
        installed_libraries((site,))


def test_the_copy_has_those_files_and_their_bytecode(site: Path, tmp_path: Path) -> None:
    (site / "one/shadow").mkdir()
    (site / "one/shadow/__init__.py").write_text("")
    kept = keep(tmp_path / "kept", (site,))
    found = {str(path.relative_to(kept.site)) for path in kept.site.rglob("*") if path.is_file()}
    assert {path for path in found if not path.endswith(".pyc")} == paths(site)
    assert importlib.util.cache_from_source("two.py") in found
    assert kept.digest == installed_libraries((site,)).digest
    assert (kept.place.parent.stat().st_mode & 0o777) == 0o700


def test_a_file_that_is_not_what_was_installed_is_refused(site: Path, tmp_path: Path) -> None:
    (site / "two.py").write_text("y = 3\n")
    with pytest.raises(PrerequisiteError, match="not the file that was installed") as caught:
        keep(tmp_path / "kept", (site,))
    assert caught.value.where == str(site / "two.py")
    assert [path for path in (tmp_path / "kept").iterdir() if path.is_dir()] == []


def test_bytecode_of_the_installation_is_not_taken(site: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text("y = 'evil'\n")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    target = importlib.util.cache_from_source(str(site / "two.py"))
    Path(target).parent.mkdir()
    py_compile.compile(str(evil), target, "two.py", True, invalidation_mode=mode)

    def seen(place: Path) -> str:
        argv = [sys.executable, "-c", "import two; print(two.y)"]
        env = {"PYTHONPATH": str(place)}
        return subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout

    assert seen(site) == "evil\n"
    assert seen(keep(tmp_path / "kept", (site,)).site) == "2\n"


def test_the_copy_is_made_once_and_made_again_when_it_is_damaged(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep(tmp_path / "kept", (site,))
    with monkeypatch.context() as patched:
        patched.setattr(module, "_make", lambda *_: pytest.fail("it was there"))
        patched.setattr(module, "installed_libraries", lambda _: pytest.fail("it was known"))
        assert keep(tmp_path / "kept", (site,)) == first
    damages = {
        "content": lambda: (first.site / "two.py").write_text("y = 3\n"),
        "bytecode": lambda: next(first.site.glob("__pycache__/two*")).write_bytes(b"x"),
        "added": lambda: (first.site / "stray.py").write_text(""),
        "gone": (first.site / "two.py").unlink,
    }
    for damage in damages.values():
        damage()
        assert broken_kept(first.place) is not None
        assert keep(tmp_path / "kept", (site,)) == first
        assert broken_kept(first.place) is None


def test_times_set_back_hide_no_change(site: Path, tmp_path: Path) -> None:
    kept = keep(tmp_path / "kept", (site,))
    file = kept.site / "two.py"
    facts = file.stat()
    file.write_text("y = 3\n")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert file.stat().st_size == facts.st_size
    assert broken_kept(kept.place) == "two.py"


def test_a_directory_that_others_may_write_is_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o777)
    with pytest.raises(PrerequisiteError, match="others may write"):
        keep(tmp_path / "kept", (site,))


def test_sets_of_libraries_that_nobody_uses_are_removed(site: Path, tmp_path: Path) -> None:
    base = tmp_path / "kept"
    base.mkdir(mode=0o700)
    for number in range(5):
        (base / f"old{number}").mkdir()
        os.utime(base / f"old{number}", (number, number))
    kept = keep(base, (site,))
    left = {path.name for path in base.iterdir() if path.is_dir()}
    assert left == {"old3", "old4", kept.place.name}
