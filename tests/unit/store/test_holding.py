"""A SQLite database has one holder, and the next one is told who it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.store import Holder, hold, parse_url

HOLDS = """
import asyncio, sys
from pathlib import Path
from agency.store import Holder, hold, parse_url

async def main():
    async with hold(parse_url(sys.argv[1]), Holder.here(Path("/var/lib/agency"))):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def holder_process(database: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLDS, str(database)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def take(database: Path) -> None:
    async with hold(parse_url(str(database)), Holder.here(database.parent)):
        pass


async def test_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    database = tmp_path / "control.db"
    process = holder_process(database)
    try:
        with pytest.raises(PrerequisiteError) as caught:
            await take(database)
        said = str(caught.value)
        assert f"process {process.pid} on {os.uname().nodename}" in said
        assert "the state directory /var/lib/agency" in said
        await take(tmp_path / "other.db")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    await take(database)  # the kernel gave it back


@pytest.mark.parametrize("link", ["symbolic link", "other spelling"])
async def test_another_name_of_the_file_is_the_same_database(tmp_path: Path, link: str) -> None:
    database = tmp_path / "control.db"
    other = tmp_path / "alias.db"
    if link == "symbolic link":
        other.symlink_to(database)
    else:
        (tmp_path / "x").mkdir()
        other = tmp_path / "x" / ".." / "control.db"
    async with hold(parse_url(str(database)), Holder.here(tmp_path)):
        with pytest.raises(PrerequisiteError, match="the database is held by process"):
            await take(other)
    await take(other)


async def test_given_back_when_the_block_is_left(tmp_path: Path) -> None:
    for _ in range(2):
        await take(tmp_path / "control.db")


async def test_record_of_a_dead_holder_counts_for_nothing(tmp_path: Path) -> None:
    database = tmp_path / "control.db"
    (tmp_path / "control.db.lock").write_bytes(
        Holder(1, "other", "/x").record() + b"\n" + b"x" * 99
    )
    async with hold(parse_url(str(database)), Holder.here(tmp_path)):
        found = Holder.read((tmp_path / "control.db.lock").read_bytes())
    assert found == Holder.here(tmp_path)


async def test_holder_that_has_not_written_yet_is_still_one(tmp_path: Path) -> None:
    database = tmp_path / "control.db"
    async with hold(parse_url(str(database)), Holder.here(tmp_path)):
        (tmp_path / "control.db.lock").write_bytes(b"")
        with pytest.raises(PrerequisiteError, match="a process that has just started"):
            await take(database)


async def test_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "control.db.lock").symlink_to(victim)
    with pytest.raises(PrerequisiteError, match="cannot lock the database"):
        await take(tmp_path / "control.db")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff", b"null"])
def test_what_is_no_record_is_nobody(text: bytes) -> None:
    assert Holder.read(text) is None


def test_long_path_is_cut_at_its_beginning() -> None:
    holder = Holder(1, "host", "/" + "very-long/" * 400 + "end")
    assert len(holder.record()) <= 500
    read = Holder.read(holder.record())
    assert read is not None
    assert read.state_dir.startswith("...")
    assert read.state_dir.endswith("long/end")
    assert (read.pid, read.host) == (1, "host")
