"""What a source may bring: bounded, and nothing of it is followed elsewhere."""

import hashlib
import io
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.programs import ProgramError
from agency.sandbox import contents, source
from agency.sandbox.contents import archive
from agency.sandbox.source import Source, fetch, parse_source

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false")


def git(directory: Path, *argv: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(directory), *IDENTITY, *argv),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit that is a checkout of this project, as far as looked at."""
    place = tmp_path / "repository"
    for name in ("requirements", "modules/portable", "pyscripts"):
        (place / name).mkdir(parents=True)
    for name in ("pyproject.toml", "requirements/guest.txt", "modules/portable/x", "pyscripts/y"):
        (place / name).write_text("first\n")
    git(place, "init", "--quiet")
    return place


def committed(repository: Path) -> Source:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "x")
    return parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD')}")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    place = tmp_path / "into"
    place.mkdir()
    return place


def test_a_commit_is_checked_out_and_its_history_is_not(repository: Path, into: Path) -> None:
    first = committed(repository)
    (repository / "pyproject.toml").write_text("second\n")
    committed(repository)
    (repository / "pyproject.toml").write_text("third\n")
    committed(repository)
    second = parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD~1')}")
    directory = fetch(second, into)
    assert (directory / "pyproject.toml").read_text() == "second\n"
    assert git(directory, "rev-list", "--all", "--count", "HEAD") == "1"
    with pytest.raises(subprocess.CalledProcessError):
        git(directory, "cat-file", "-e", str(first.commit))


def test_a_commit_that_is_not_there_is_said_in_gits_words(repository: Path, into: Path) -> None:
    committed(repository)
    with pytest.raises(ProgramError) as caught:
        fetch(parse_source(f"{repository}@{'0' * 40}"), into)
    assert caught.value.where == "git"
    assert "0000000" in caught.value.message, "why, not only that"


def test_a_place_that_is_no_repository_is_said_so(tmp_path: Path, into: Path) -> None:
    with pytest.raises(ProgramError, match="does not appear to be a git repository"):
        fetch(parse_source(f"{tmp_path}/nothing@{'0' * 40}"), into)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def give(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)


only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a repository to another"
)


@only_root
def test_the_repository_of_another_user_is_read(repository: Path, shared: Path, into: Path) -> None:
    committed(repository)
    theirs = Path(shutil.copytree(repository, shared / "theirs"))
    give(theirs)
    wanted = parse_source(f"{theirs}@{git(repository, 'rev-parse', 'HEAD')}")
    assert (fetch(wanted, into) / "pyproject.toml").exists()


@only_root
@pytest.mark.parametrize("way", ["git file", "alternates"])
def test_a_repository_does_not_lead_to_what_its_owner_cannot_read(
    way: str, repository: Path, shared: Path, into: Path
) -> None:
    private = committed(repository)
    repository.chmod(0o700)
    theirs = shared / "theirs"
    theirs.mkdir()
    if way == "git file":
        (theirs / ".git").write_text(f"gitdir: {repository}/.git\n")
    else:
        git(theirs, "init", "--quiet")
        objects = theirs / ".git" / "objects"
        (objects / "info" / "alternates").write_text(f"{repository}/.git/objects\n")
        (theirs / ".git" / "refs" / "heads" / "main").write_text(f"{private.commit}\n")
        (theirs / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    give(theirs)
    with pytest.raises(ProgramError):
        fetch(parse_source(f"{theirs}@{private.commit}"), into)
    assert not (into / "checkout" / "pyproject.toml").exists()


def test_who_cannot_become_the_owner_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(BadInputError, match="belongs to another user"):
        source.serving(str(repository))


def test_hooks_and_settings_of_a_repository_are_not_run(repository: Path, into: Path) -> None:
    wanted = committed(repository)
    mark = into / "it-ran"
    hook = f"#!/bin/sh\ntouch {mark}\n"
    for name in ("post-checkout", "post-upload-pack", "reference-transaction", "pre-auto-gc"):
        file = repository / ".git" / "hooks" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(hook)
        file.chmod(0o755)
    program = into / "program"
    program.write_text(hook)
    program.chmod(0o755)
    for key in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.pager"):
        git(repository, "config", key, str(program))
    fetch(wanted, into)
    assert not mark.exists()


def test_a_large_pack_is_refused(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "large").write_bytes(os.urandom(200_000))
    wanted = committed(repository)
    monkeypatch.setattr(source, "MAX_FETCHED_BYTES", 100_000)
    with pytest.raises(ProgramError, match="fatal"):
        fetch(wanted, into)
    monkeypatch.setattr(source, "MAX_FETCHED_BYTES", 400_000)
    shutil.rmtree(into / "checkout")
    assert (fetch(wanted, into) / "large").exists()


def test_what_becomes_large_only_when_checked_out_is_refused(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_CHECKOUT_BYTES", 3_000_000)
    (repository / "zeros").write_bytes(bytes(3_000_001))
    with pytest.raises(BadInputError, match="a checkout would have"):
        fetch(committed(repository), into)
    assert not (into / "checkout" / "zeros").exists()


def test_few_objects_that_name_many_files_are_refused(repository: Path, into: Path) -> None:
    """Ten directories in each other with ten names each: 10**10 files of a few kilobytes."""
    tree = git(repository, "hash-object", "-w", "pyproject.toml")
    kind, mode = "blob", "100644"
    for _ in range(10):
        lines = "".join(f"{mode} {kind} {tree}\td{n}\n" for n in range(10))
        done = subprocess.run(
            ("git", "-C", str(repository), "mktree"),
            input=lines.encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        tree, kind, mode = done.stdout.decode().strip(), "tree", "040000"
    commit = git(repository, "commit-tree", tree, "-m", "x")
    git(repository, "update-ref", "refs/heads/bomb", commit)
    with pytest.raises(BadInputError, match="more than 20000 files"):
        fetch(parse_source(f"{repository}@{commit}"), into)


def delta_bomb(zeros: int, copies: int) -> bytes:
    """A pack: a blob of zeros, and a delta that copies it again and again."""
    base = bytes(zeros)
    name = hashlib.sha1(b"blob %d\0" % zeros + base, usedforsecurity=False).digest()

    def header(kind: int, size: int) -> bytes:
        first, size = (kind << 4) | (size & 15), size >> 4
        out = bytearray()
        while size:
            out.append(first | 0x80)
            first, size = size & 0x7F, size >> 7
        return bytes([*out, first])

    def length(size: int) -> bytes:
        out = bytearray()
        while size >= 0x80:
            out.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([*out, size])

    # Copy 0xffffff bytes from offset 0: gitformat-pack(5).
    delta = length(zeros) + length(copies * 0xFFFFFF) + bytes([0xF0, 255, 255, 255]) * copies
    body = (
        (b"PACK" + struct.pack(">II", 2, 2))
        + (header(3, zeros) + zlib.compress(base, 9))
        + (header(7, len(delta)) + name + zlib.compress(delta, 9))
    )
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


COPIED = 0xFFFFFF  # the most that one instruction of a delta copies


def test_a_small_pack_of_a_huge_file_does_not_take_the_memory(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_MEMORY_BYTES", 192 * 1024**2)
    small = committed(repository)
    assert fetch(small, into).exists(), "the control: the same bound, without the bomb"
    shutil.rmtree(into / "checkout")
    copies = 20
    pack = delta_bomb(COPIED + 1, copies)
    assert len(pack) < 32 * 1024
    subprocess.run(
        ("git", "-C", str(repository), "index-pack", "--stdin"),
        input=pack,
        check=True,
        capture_output=True,
        timeout=120,
    )
    digest = hashlib.sha1(b"blob %d\0" % (copies * COPIED), usedforsecurity=False)
    for _ in range(copies):
        digest.update(bytes(COPIED))
    bomb = f"100644,{digest.hexdigest()},bomb"
    git(repository, "update-index", "--add", "--cacheinfo", bomb)
    git(repository, "commit", "--quiet", "--message", "x")
    wanted = parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    with pytest.raises(ProgramError, match="exit status 128"):
        fetch(wanted, into)
    shutil.rmtree(into / "checkout")
    monkeypatch.setattr(source, "_MEMORY_BYTES", 1024**3)
    with pytest.raises(BadInputError, match="a checkout would have"):
        fetch(wanted, into)  # the control: with more memory it is built, and then measured


def test_what_a_server_says_without_end_is_not_kept(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_ssh(tmp_path, "while :; do echo 0123456789012345678901234567890123456789 >&2; done")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ProgramError, match="on its standard error"):
        fetch(parse_source(f"ssh://git.example/x@{'0' * 40}"), into)


def test_ssh_gets_no_settings_and_no_keys(
    into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_ssh(tmp_path, f'echo "$@" > {tmp_path}/argv; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ProgramError):
        fetch(parse_source(f"ssh://git.example/x@{'0' * 40}"), into)
    said = (tmp_path / "argv").read_text()
    assert said.startswith("-F /dev/null ")
    for option in (
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityFile=none",
        "IdentityAgent=none",
    ):
        assert f"-o {option}" in said
    assert "git.example" in said


def put_ssh(place: Path, script: str) -> None:
    (place / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    (place / "ssh").chmod(0o755)


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ("* ident", b"$Id$\n" * 1000),
        ("* working-tree-encoding=UTF-32", b"text\n" * 1000),
        ("* text eol=crlf", b"line\n" * 1000),
        ("* filter=lfs", b"x\n"),
        ("[attr]large ident\n* large", b"$Id$\n" * 1000),
    ],
)
def test_attributes_of_a_source_change_no_byte(
    attributes: str, content: bytes, repository: Path, into: Path
) -> None:
    (repository / "pyscripts" / "y").write_bytes(content)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "x")
    (into / "attributes").write_text(f"{attributes}\n")
    blob = git(repository, "hash-object", "-w", "--no-filters", str(into / "attributes"))
    git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},.gitattributes")
    git(repository, "commit", "--quiet", "--message", "x")
    wanted = parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    directory = fetch(wanted, into)
    assert (directory / ".gitattributes").exists()
    assert (directory / "pyscripts" / "y").read_bytes() == content


def test_hard_links_of_a_source_are_files(repository: Path) -> None:
    (repository / "pyscripts" / "b.py").hardlink_to(repository / "pyscripts" / "y")
    with tarfile.open(fileobj=io.BytesIO(archive(repository))) as tar:
        found = {entry.name: entry for entry in tar}
        assert found["pyscripts/b.py"].isreg()
        assert found["pyscripts/y"].isreg()
        assert tar.extractfile("pyscripts/b.py").read() == b"first\n"  # type: ignore[union-attr]


def test_no_room_is_said_before_anything_is_fetched(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_ROOM_BYTES", 1 << 62)
    with pytest.raises(PrerequisiteError, match="disk space"):
        fetch(committed(repository), into)
    assert not (into / "checkout").exists()


def names(packed: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {(entry.uid, entry.gid) for entry in tar} == {(0, 0)}
        return {entry.name for entry in tar}


def test_a_guest_gets_the_parts_it_needs(repository: Path) -> None:
    (repository / "pyscripts/link").symlink_to("/etc/passwd")
    os.mkfifo(repository / "pyscripts/pipe")
    (repository / "pyscripts/__pycache__").mkdir()
    for name in ("secrets/catalogue.json", "setup.py", "secrets.yaml"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).touch()
    assert names(archive(repository)) == {
        *("pyproject.toml", "pyscripts", "pyscripts/y", "pyscripts/link"),
        *("modules/portable", "modules/portable/x"),
        *("secrets", "secrets/catalogue.json", "setup.py"),
    }


def test_a_large_file_is_refused_before_it_is_read(repository: Path) -> None:
    with (repository / "pyscripts/sparse").open("wb") as file:
        file.truncate(10 * 1024**4)
    with pytest.raises(BadInputError, match="larger than 67108864 bytes") as caught:
        archive(repository)
    assert caught.value.where == "pyscripts/sparse"


def test_many_small_files_are_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_BYTES", 20_000)
    archive(repository)
    for number in range(20):
        (repository / "pyscripts" / str(number)).touch()
    with pytest.raises(BadInputError, match="larger"):
        archive(repository)


def test_directories_in_each_other_are_refused(repository: Path) -> None:
    (repository / "pyscripts" / "/".join("d" * (contents.MAX_DEPTH + 1))).mkdir(parents=True)
    with pytest.raises(BadInputError, match="in each other"):
        archive(repository)


def test_no_part_is_taken_from_behind_a_link(repository: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "portable").mkdir(parents=True)
    (elsewhere / "portable" / "secret").write_text("x")
    shutil.rmtree(repository / "modules")
    (repository / "modules").symlink_to(elsewhere)
    with pytest.raises(BadInputError, match="a link") as caught:
        archive(repository)
    assert caught.value.where == "modules"


def test_a_part_that_is_a_link_stays_one(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    shutil.rmtree(repository / "pyscripts")
    (repository / "pyscripts").symlink_to(tmp_path)
    assert "pyscripts" in names(archive(repository))
    assert not {name for name in names(archive(repository)) if "secret" in name}


def test_this_checkout_is_within_the_bounds() -> None:
    root = Path(__file__).resolve().parents[3]
    assert 3 * len(archive(root)) < 2 * contents.MAX_BYTES
    with pytest.raises(AgencyError):
        fetch(parse_source(str(root / "docs")), root)
