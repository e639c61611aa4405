"""The project's own files in a guest: those of its digest, and the programs that it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from agency import __version__
from agency.errors import BadInputError
from agency.guests.install import own_files
from agency.source_digest import source_root

SITE = PurePosixPath("/opt/agency/lib/python3.11/site-packages")
PROJECT = """
[project]
name = "agency"
version = "1.2"
[project.scripts]
agency = "agency.cli:main"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, text in {
        "pyproject.toml": PROJECT,
        "pyscripts/agency/a.py": "A = 1\n",
        "pyscripts/agency/deep/b.json": "{}",
        "pyscripts/agency.egg-info/PKG-INFO": "",
        "pyscripts/agency/ignored.py": "",
        "docs/not-installed.md": "",
        "secrets/catalogue.json": "{}",
        ".gitignore": "ignored.py\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", root], check=True, timeout=30)
    return root


def test_installed_are_the_files_of_the_digest_and_the_programs(source: Path) -> None:
    files = own_files(source, SITE)
    assert {str(path) for path in files} == {
        f"{SITE}/agency/a.py",
        f"{SITE}/agency/deep/b.json",
        f"{SITE}/agency/secrets/catalogue.json",
        f"{SITE}/agency-1.2.dist-info/METADATA",
        "/opt/agency/bin/agency",
    }
    assert files[SITE / "agency/a.py"].content == b"A = 1\n"
    program = files[PurePosixPath("/opt/agency/bin/agency")]
    assert program.mode == 0o755
    assert program.content.startswith(b"#!/opt/agency/bin/python3\n")
    read: dict[str, object] = {"__name__": "read"}
    code = program.content.replace(b"from agency.cli import main", b"main = 1")
    exec(code, read)
    assert read["main"] == 1, "it can be read without being run"


def test_nothing_is_installed_that_a_link_leads_to(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("SECRET = 1\n")
    (source / "pyscripts/agency/inside.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(BadInputError, match="symbolic link") as caught:
        own_files(source, SITE)
    assert "inside.py" in str(caught.value.where)


def test_what_is_installed_runs_and_knows_its_version(tmp_path: Path) -> None:
    """The real source, laid down elsewhere: its metadata and its programs are found."""
    for path, file in own_files(source_root(), PurePosixPath("/site")).items():
        place = tmp_path / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    look = (
        "import sys; sys.path[:] = [sys.argv[1], *(p for p in sys.path if 'pyscripts' not in p)];"
        "import agency.cli, importlib.metadata as m; print(agency.__file__, m.version('agency'))"
    )
    argv = [sys.executable, "-I", "-c", look, str(tmp_path / "site")]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.split() == [str(tmp_path / "site/agency/__init__.py"), __version__]
    assert (tmp_path / "opt/agency/bin/spinup_smoke").is_file()
