"""Asking this machine's Nix store, which is simulated here: bounded, and ended with who asks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.errors import BadInputError
from agency.guests.images import nix_store
from agency.machine import process
from agency.programs import ProgramError

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
IMAGE_SYSTEM, RUN_SYSTEM = (f"/nix/store/{HASH}-nixos-system-{name}-26.11" for name in "ab")


async def test_a_system_that_is_quite_another_is_refused_before_it_is_read(
    nix: Callable[[str, str], Path],
) -> None:
    half = nix_store.MAX_EXPORT // 2
    asked = nix("nix-store", f"printf '%s\\n' {half} {half + 1}")
    with pytest.raises(BadInputError, match="differs from the image's by 256 MiB"):
        await nix_store.export([IMAGE_SYSTEM, RUN_SYSTEM])
    assert asked.read_text().splitlines() == ["--query", "--size", IMAGE_SYSTEM, RUN_SYSTEM]


async def test_what_the_store_lacks_is_said_by_nix(nix: Callable[[str, str], Path]) -> None:
    nix("nix-store", "echo warning >&2; echo 'error: path is not valid' >&2; exit 1")
    with pytest.raises(ProgramError, match="exit status 1: error: path is not valid"):
        await nix_store.export([RUN_SYSTEM])


async def test_nix_ends_when_nobody_waits_for_it_any_more(
    nix: Callable[[str, str], Path], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    nix("nix-store", f"exec 3>{fifo}; echo $$ >&3; exec sleep 120")
    asking = asyncio.ensure_future(nix_store.missing_paths(RUN_SYSTEM, []))
    pid = int(await asyncio.to_thread(lambda: fifo.open().readline()))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_of_a_long_answer_the_beginning_is_kept_and_the_rest_said_to_be_missing() -> None:
    argv = ("printf", "abcdef")
    whole = await process.run(argv, os.environ, b"", 20, most=6)
    assert (whole.stdout, whole.truncated) == (b"abcdef", False)
    cut = await process.run(argv, os.environ, b"", 20, most=3)
    assert (cut.stdout, cut.truncated) == (b"abc", True)


async def test_an_answer_without_end_is_refused(
    nix: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    nix("nix-store", f"echo {IMAGE_SYSTEM}")
    assert await nix_store.missing_paths(RUN_SYSTEM, []) == [IMAGE_SYSTEM]
    monkeypatch.setattr(nix_store, "MAX_EXPORT", 10)
    with pytest.raises(ProgramError, match="said more than 20 bytes"):
        await nix_store.missing_paths(RUN_SYSTEM, [])
