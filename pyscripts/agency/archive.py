"""Tar archives for other machines: equal members give equal bytes, and all time stamps are one."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agency.errors import InternalError

EPOCH = 1_700_000_000


@dataclass(frozen=True, slots=True)
class File:
    """Member of an archive that is on no disk."""

    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


Member = tuple[str, Path | File]


def archive(members: Iterable[Member], *, plain: bool = False, mtime: int = EPOCH) -> bytes:
    """Pack members by their names; a path's file, directory (without content) or link is root's.

    With `plain`, refuse links, and give files the mode 0644 and directories 0755.

    Raises:
        InternalError: a path is neither file, directory nor link, or not plain.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, source in members:
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            if isinstance(source, File):
                info.size, info.mode = len(source.content), source.mode
                info.uid, info.gid = source.uid, source.gid
                tar.addfile(info, io.BytesIO(source.content))
            elif _describe(info, source, plain=plain):
                with source.open("rb") as handle:
                    tar.addfile(info, handle)
            else:
                tar.addfile(info)
    return packed.getvalue()


def _describe(info: tarfile.TarInfo, source: Path, *, plain: bool) -> bool:
    """Fill in the facts of a path; return whether it is a regular file."""
    info.uname = info.gname = "root"
    seen = source.lstat()
    info.mode = stat.S_IMODE(seen.st_mode)
    if stat.S_ISREG(seen.st_mode):
        info.size = seen.st_size
        info.mode = 0o644 if plain else info.mode
        return True
    if stat.S_ISDIR(seen.st_mode):
        info.type = tarfile.DIRTYPE
        info.mode = 0o755 if plain else info.mode
    elif stat.S_ISLNK(seen.st_mode) and not plain:
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(source)  # noqa: PTH115 - as it is
    else:
        raise InternalError("is no plain file", where=info.name)
    return False


def tree(root: Path, name: str = "", *, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    """List a path by `name`, if it has one, and all that is below it; sockets and devices not.

    Links are listed, never followed. Entries of which the name ends with one of `skip` are left
    out, with what is below them.
    """
    kind = root.lstat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
        return
    if name:
        yield name, root
    if stat.S_ISDIR(kind):
        for path in sorted(root.iterdir()):
            if not path.name.endswith(skip):
                yield from tree(path, f"{name}/{path.name}".lstrip("/"), skip=skip)


def unpack(packed: bytes, into: Path) -> None:
    """Unpack an archive of ours into a directory that is made.

    Raises:
        InternalError: it is none of ours: a part lies elsewhere, or is no file, directory or link.
    """
    into.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for part in tar:
            _check(part)
            # Python 3.11 before 3.11.4 has no filters.
            if hasattr(tarfile, "data_filter"):
                tar.extract(part, into, filter="data")
            else:
                tar.extract(part, into)


def _check(part: tarfile.TarInfo) -> None:
    """Refuse what would leave the directory, whatever the Python at hand refuses."""
    names = [part.name]
    if part.issym():
        names.append(str(PurePosixPath(part.name).parent / part.linkname))
    elif not (part.isfile() or part.isdir()):
        raise InternalError("is no file, directory or link", where=part.name)
    for name in names:
        if name.startswith("/") or os.path.normpath(name).split("/")[0] == "..":
            raise InternalError("lies outside of the archive", where=part.name)
