"""The archive of the agents' image: the same files give the same bytes; nothing else is in it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from agentimage import __main__ as command
from agentimage.archive import archive, layer
from agentimage.contents import LEFT_OUT, Entry, compiled, distributions, packages

PATH = PurePosixPath


def entries(tmp_path: Path) -> list[Entry]:
    source = tmp_path / "module.py"
    source.write_text("x = {'a', 'b'}\n")
    return [
        Entry(PATH("opt/b/module.py"), source, mode=0o644),
        Entry(PATH("opt/a"), data=b"a", mode=0o644),
        Entry(PATH("bin/link"), link="/opt/a"),
        Entry(PATH("tmp"), mode=0o1777),
    ]


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {each.name: each for each in tar.getmembers()}


def test_order_and_times_do_not_matter(tmp_path: Path) -> None:
    first = entries(tmp_path)
    one = layer([*first, *compiled(first)])
    (tmp_path / "module.py").touch()
    again = entries(tmp_path)[::-1]
    assert layer([*again, *compiled(again)]) == one
    assert archive(one, "x:1") == archive(one, "x:1")


def test_a_change_changes_the_id(tmp_path: Path) -> None:
    one = archive(layer(entries(tmp_path)), "x:1")[1]
    (tmp_path / "module.py").write_text("x = 2\n")
    changed = entries(tmp_path)
    changed[0].source.write_text("x = 2\n")  # type: ignore[union-attr]
    assert archive(layer(changed), "x:1")[1] != one
    assert archive(layer(changed), "y:2")[1] == archive(layer(changed), "x:1")[1]


def test_everything_is_of_root_and_parents_are_there(tmp_path: Path) -> None:
    found = members(layer(entries(tmp_path)))
    assert {(each.uid, each.gid, each.mtime) for each in found.values()} == {(0, 0, 0)}
    assert found["opt"].isdir()
    assert found["opt/b"].isdir()
    assert (found["tmp"].mode, found["bin/link"].linkname) == (0o1777, "/opt/a")


def test_the_id_is_the_digest_of_the_configuration(tmp_path: Path) -> None:
    packed, made = archive(layer(entries(tmp_path)), "x:1")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:

        def read(name: str) -> bytes:
            member = tar.extractfile(name)
            assert member is not None
            return member.read()

        (manifest,) = json.loads(read("manifest.json"))
        config = read(manifest["Config"])
        diff = hashlib.sha256(read(manifest["Layers"][0])).hexdigest()
    assert made == f"sha256:{hashlib.sha256(config).hexdigest()}"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{diff}"]
    assert json.loads(config)["config"]["User"] != "0"


def test_byte_code_is_of_the_source_and_is_never_compared(tmp_path: Path) -> None:
    (made,) = compiled(entries(tmp_path))
    assert made.path.parent == PATH("opt/b/__pycache__")
    flags = int.from_bytes(made.content[4:8], "little")
    assert flags == 1, "hash-based, unchecked: PEP 552"


COMPILED_TWICE = """
import marshal, string, sys
from pathlib import PurePosixPath
from agentimage.contents import Entry, compiled

source = repr([*string.printable]).encode()
entry = Entry(PurePosixPath("module.py"), data=source)

def both():
    return next(compiled([entry])).content, marshal.dumps(compile(source, "/module.py", "exec"))

first, newest = both()
held = [sys.intern(each) for each in string.printable]
again, newest_again = both()
print(first == again, newest == newest_again)
"""


def test_byte_code_does_not_depend_on_what_the_process_has_loaded() -> None:
    """The newest format, the control, tells which constants somebody had as names."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_TWICE],
        env={"PYTHONPATH": str(Path(command.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_it_takes_the_distributions_of_its_extra_alone() -> None:
    found = distributions()
    assert {"aiohttp", "click", "pydantic", "multidict", "lazy-loader"} <= {*found}
    assert not {"cryptography", "sqlalchemy", "pytest", "matrix-synapse", "rich", "pip"} & {*found}


def test_it_holds_no_tests_no_notes_of_pip_and_no_foreign_path() -> None:
    found = [*packages()]
    names = {part for entry in found for part in entry.path.parts}
    assert not names & {"direct_url.json", "INSTALLER", "RECORD", "pytest"}
    assert "__pycache__" in LEFT_OUT
    assert PATH("opt/agency/lib") in found[2].path.parents
    assert not any(entry.mode & 0o6000 for entry in found)


@pytest.mark.parametrize("part", ["path", "mode", "content", "link"])
def test_the_key_of_the_cache_sees_every_change(tmp_path: Path, part: str) -> None:
    base = Entry(PATH("a"), data=b"x", mode=0o644)
    other = {
        "path": Entry(PATH("b"), data=b"x", mode=0o644),
        "mode": Entry(PATH("a"), data=b"x", mode=0o755),
        "content": Entry(PATH("a"), data=b"y", mode=0o644),
        "link": Entry(PATH("a"), link="/x", mode=0o644),
    }[part]
    assert command.key([base]) == command.key([Entry(PATH("a"), data=b"x", mode=0o644)])
    assert command.key([base]) != command.key([other])
