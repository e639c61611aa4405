"""What is pinned is read as data: pip never sees a file that somebody else wrote."""

import asyncio
import hashlib
import io
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.guests.images import wheelhouse
from agency.guests.images.builder import Job
from agency.guests.images.pins import MAX_BYTES, normalised, read_pins
from agency.guests.images.recipe import ImageRecipe
from agency.guests.images.wheelhouse import Ingredients, hold_libraries

ROOT = Path(__file__).resolve().parents[3]
HASH = f"--hash=sha256:{'0' * 64}"
ONE = re.compile(r"[\w.-]+==[\w.!+-]+( --hash=sha256:[0-9a-f]{64})+")
RECIPE = ImageRecipe(architecture="amd64", packages=("systemd",))


def test_the_pins_of_this_checkout_are_taken_whole() -> None:
    file = ROOT / "requirements" / "guest.txt"
    lines, text = read_pins(file).text.splitlines(), file.read_text()
    assert [line.split("==")[0] for line in lines] == re.findall(r"(?m)^([\w.-]+)==", text)
    assert sum(line.count("--hash=sha256:") for line in lines) == text.count("--hash=sha256:")
    assert all(ONE.fullmatch(line) for line in lines)


def test_comments_and_continuations() -> None:
    text = f"# by a tool\na==1 \\\n    {HASH} \\\n    {HASH}\n    # via b\n\nb_c==2.0+x {HASH}"
    assert normalised(text, "x") == f"a==1 {HASH} {HASH}\nb_c==2.0+x {HASH}\n"


REFUSED = [
    "--no-binary :all:",
    "--no-binary=:all:",
    "--index-url http://there.example/simple",
    "--extra-index-url=http://there.example/simple",
    "--find-links /srv/there",
    "-f /srv/there",
    "-r other.txt",
    "-rother.txt",
    "-c other.txt",
    "-e .",
    "--trusted-host there.example",
    "--config-settings x=y",
    "./dir",
    "/srv/evil.tar.gz",
    "file:///srv/evil.tar.gz",
    f"evil @ http://there.example/evil.tar.gz {HASH}",
    f"http://there.example/evil-1.tar.gz {HASH}",
    f"evil==1 {HASH} --no-binary=:all:",
    f"evil==1 --config-settings=x=y {HASH}",
    f"evil==1 --global-option=x {HASH}",
    f"evil==1 ; python_version > '3' {HASH}",
    f"evil=={{VARIABLE}} {HASH}".replace("{", "${", 1),
    f"evil>=1 {HASH}",
    f"evil===1 {HASH}",
    f"evil==1.* {HASH}",
    f"evil==-r {HASH}",
    f"evil[extra]==1 {HASH}",
    f"-evil==1 {HASH}",
    "evil==1",
    "evil==1 --hash=sha256:00",
    f"evil==1 --hash=md5:{'0' * 32}",
    f"evil==1 {HASH} b==1 {HASH}",
]


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.parametrize("before", ["", f"a==1 {HASH}\n", f"a==1 {HASH} \\\n", "# c \\\n"])
def test_what_pip_would_obey_is_refused(line: str, before: str) -> None:
    with pytest.raises(BadInputError, match="pinned and hashed") as caught:
        normalised(f"{before}{line}\n", "guest.txt")
    assert "guest.txt:" in str(caught.value)


def test_the_line_is_named() -> None:
    with pytest.raises(BadInputError, match=r"--no-binary") as caught:
        normalised(f"a==1 \\\n  {HASH}\n--no-binary :all:\n", "guest.txt")
    assert "guest.txt:3" in str(caught.value)


@given(st.text(alphabet="a=1-# \\\n\r\x0b\u2028" + HASH, max_size=60))
def test_whatever_stands_there_pip_sees_pins_only(text: str) -> None:
    try:
        lines = normalised(text, "x").splitlines()
    except BadInputError:
        return
    assert all(ONE.fullmatch(line) for line in lines)


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "guest.txt").write_text(f"a==1 {HASH}\n")
    assert read_pins(there / "guest.txt").text, "the control: it can be read by its own name"
    (tmp_path / "requirements").symlink_to(there)
    (there / "link.txt").symlink_to(there / "guest.txt")
    os.mkfifo(there / "pipe.txt")
    for path in (tmp_path / "requirements/guest.txt", there / "link.txt", there / "none.txt"):
        with pytest.raises(PrerequisiteError, match="cannot be read"):
            read_pins(path)
    for path in (there / "pipe.txt", there):
        with pytest.raises(AgencyError):
            read_pins(path)
    (there / "large.txt").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(BadInputError, match="larger"):
        read_pins(there / "large.txt")


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A directory with a source package whose build leaves a mark, and a wheel that is fine."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    mark = tmp_path / "it-ran"
    backend = f"open({str(mark)!r}, 'w').close()\n"
    system = '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
    parts = {
        "pyproject.toml": system,
        "b.py": backend,
        "PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    with tarfile.open(shelf / "evil-1.0.tar.gz", "w:gz") as tar:
        for name, text in parts.items():
            entry = tarfile.TarInfo(f"evil-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    with zipfile.ZipFile(shelf / "good-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("good-1.0.dist-info/METADATA", parts["PKG-INFO"].replace("evil", "good"))
        wheel.writestr("good-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("good-1.0.dist-info/RECORD", "")
    return shelf


def digest(path: Path) -> str:
    return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def held(tmp_path: Path, text: str) -> list[str]:
    """The files that a source's requirements lead to."""
    source = tmp_path / "source" / "requirements"
    source.mkdir(parents=True, exist_ok=True)
    (source / "guest.txt").write_text(text)
    ingredients = Ingredients(source / "guest.txt", RECIPE)

    async def go() -> list[str]:
        async with hold_libraries(tmp_path / "base", ingredients, marker="test-pins") as libraries:
            return sorted(path.name for path in libraries.directory.iterdir())

    return asyncio.run(go())


@pytest.fixture
def only(evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds the packages of that directory and no others."""
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nno-index = true\nfind-links = {evil}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    return evil


def test_a_wheel_is_fetched(only: Path, tmp_path: Path) -> None:
    line = f"good==1.0 {digest(only / 'good-1.0-py3-none-any.whl')}\n"
    assert held(tmp_path, line) == ["good-1.0-py3-none-any.whl", "requirements.txt"]
    (kept,) = (tmp_path / "base").glob("*/*/requirements.txt")
    assert kept.read_text() == line, "by which it is installed"
    assert list((tmp_path / "base").glob("*/.making.*")) == []


@pytest.mark.parametrize("way", ["options", "address", "pin"])
def test_a_source_runs_no_code_of_its_own_here(only: Path, tmp_path: Path, way: str) -> None:
    package = only / "evil-1.0.tar.gz"
    texts = {
        "options": f"--no-binary :all:\n--find-links {only}\nevil==1.0 {digest(package)}\n",
        "address": f"evil @ {package.as_uri()} {digest(package)}\n",
        "pin": f"evil==1.0 {digest(package)}\n",
    }
    with pytest.raises(AgencyError):
        held(tmp_path, texts[way])
    assert not (tmp_path / "it-ran").exists()


def test_that_package_would_have_run(only: Path, tmp_path: Path) -> None:
    """The control: pip, given such a file as it is, runs what the package brings."""
    package = only / "evil-1.0.tar.gz"
    file = tmp_path / "as-it-is.txt"
    file.write_text(f"--no-binary :all:\n--find-links {only}\nevil==1.0 {digest(package)}\n")
    argv = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps"]
    argv += ["--require-hashes", "--only-binary", ":all:", "--dest", str(tmp_path / "dest")]

    async def go() -> None:
        process = await asyncio.create_subprocess_exec(
            *argv, "--requirement", str(file), stderr=asyncio.subprocess.DEVNULL
        )
        await asyncio.wait_for(process.wait(), 60)

    asyncio.run(go())
    assert (tmp_path / "it-ran").exists()


def test_pip_is_given_what_was_checked_and_nothing_else_is_kept(
    only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def pip(job: Job, *, env: Mapping[str, str]) -> None:
        seen.append(Path(job.argv[job.argv.index("--requirement") + 1]).read_text())  # noqa: ASYNC240 - small
        (job.directory / "evil-1.0.tar.gz").touch()
        job.log.touch()

    monkeypatch.setattr(wheelhouse, "run_job", pip)
    with pytest.raises(BadInputError, match=r"evil-1\.0\.tar\.gz"):
        held(tmp_path, f"# as it came\na==1 \\\n  {HASH}\n")
    assert seen == [f"a==1 {HASH}\n"]
    assert not [p for p in (tmp_path / "base" / "wheels").iterdir() if p.is_dir()]
