"""Cache of what is costly to make, by the digest of what it was made of.

Made beside its place and renamed into it when it is whole, so that what was half-made is never
used. A lock for each digest lets two runs that want the same thing make it once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.locks import lock, try_lock

GIB = 1024**3

_MAKING = ".making."
_LOCK = ".lock"

Make = Callable[[Path], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A thing in the cache, which stays there while this is held; `fresh` when it was just made."""

    path: Path
    fresh: bool


@dataclass(frozen=True, slots=True)
class DigestCache:
    """A directory that holds at most `keep` things that nobody uses.

    `needs` is the free space in bytes without which making is not begun.
    """

    base: Path
    keep: int
    needs: int

    @contextlib.asynccontextmanager
    async def hold(self, digest: str, make: Make) -> AsyncIterator[Kept]:
        """Hold the thing of that digest, made by `make` in an empty directory where it is missing.

        Raises:
            PrerequisiteError: there is no room, or the directory cannot be written.
        """
        self._prepare()
        fresh = False
        while True:
            descriptor = await lock(self._lock(digest), shared=True)
            try:
                if self._place(digest).is_dir():
                    os.utime(self._place(digest))
                    yield Kept(self._place(digest), fresh)
                    return
            finally:
                os.close(descriptor)
            await self._make(digest, make)
            fresh = True
            self.prune(spare=digest)

    async def _make(self, digest: str, make: Make) -> None:
        descriptor = await lock(self._lock(digest))
        try:
            if self._place(digest).is_dir():
                return  # another run was faster
            free = shutil.disk_usage(self.base).free
            if free < self.needs:
                told = f"{free / GIB:.1f} GiB free, {self.needs / GIB:.1f} needed"
                raise no_room(self.base, told)
            partial = self._partial(digest)
            _remove(partial)
            partial.mkdir(mode=0o755)
            try:
                await make(partial)
                _to_disk(partial)
                partial.rename(self._place(digest))
            finally:
                _remove(partial)
        finally:
            os.close(descriptor)

    def prune(self, *, spare: str | None = None) -> tuple[str, ...]:
        """Remove what was used longest ago and what killed runs left half-made; their names."""
        whole = sorted(self._whole(), key=_used_at, reverse=True)
        too_many = [path for path in whole if path.name != spare][max(0, self.keep - 1) :]
        return (*self._drop(too_many), *self.sweep())

    def sweep(self) -> tuple[str, ...]:
        """Remove what killed runs left half-made or half-removed; their names."""
        return self._drop(path for path in self.base.glob(f"{_MAKING}*") if path.is_dir())

    def _drop(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Remove what nobody holds; its name says that it is not whole before it is not."""
        removed = []
        for path in paths:
            digest = path.name.removeprefix(_MAKING)
            descriptor = try_lock(self._lock(digest))
            if descriptor is None:
                continue
            try:
                partial = self._partial(digest)
                _remove(partial)
                if path != partial and path.exists():
                    path.rename(partial)
                    _remove(partial)
                removed.append(path.name)
                if not self._place(digest).exists():
                    self._lock(digest).unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        return tuple(removed)

    def digests(self) -> tuple[str, ...]:
        """List the digests of what is there, whole."""
        return tuple(sorted(path.name for path in self._whole()))

    def _whole(self) -> Iterator[Path]:
        if self.base.is_dir():
            yield from (p for p in self.base.iterdir() if p.is_dir() and p.name[0] != ".")

    def _place(self, digest: str) -> Path:
        return self.base / digest

    def _partial(self, digest: str) -> Path:
        return self.base / f"{_MAKING}{digest}"

    def _lock(self, digest: str) -> Path:
        return self.base / f".{digest}{_LOCK}"

    def _prepare(self) -> None:
        try:
            self.base.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be made: {error.strerror}",
                where=str(self.base),
                hint="set XDG_STATE_HOME to a directory that you may write",
            ) from error


def no_room(place: Path, detail: str) -> PrerequisiteError:
    """Make the error for a full disk."""
    return PrerequisiteError(
        f"not enough disk space: {detail}",
        where=str(place),
        hint="free some space, or set XDG_STATE_HOME to a larger file system",
    )


def sweep(base: Path) -> tuple[str, ...]:
    """Remove what killed runs left half-made in every cache below a directory; their names."""
    if not base.is_dir():
        return ()
    caches = [DigestCache(path, keep=0, needs=0) for path in base.iterdir() if path.is_dir()]
    return tuple(name for cache in caches for name in cache.sweep())


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run removed it meanwhile
        return 0.0


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _to_disk(directory: Path) -> None:
    """Have the content on disk before the rename says that it is whole."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
