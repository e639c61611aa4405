"""Append-only and immutable flags of a file, by ioctl (`chattr +a` and `+i` set the same)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_LONG = struct.calcsize("l")


def _request(direction: int, number: int) -> int:
    return direction << 30 | _LONG << 16 | ord("f") << 8 | number


_GET = _request(2, 1)  # FS_IOC_GETFLAGS
_SET = _request(1, 2)  # FS_IOC_SETFLAGS
IMMUTABLE = 0x10
APPEND = 0x20
_KEPT = IMMUTABLE | APPEND

_UNSUPPORTED = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Protection:
    """Append-only protection of a file by the kernel, or the reason why there is none."""

    append_only: bool
    reason: str | None = None

    def as_detail(self) -> dict[str, object]:
        """Describe the protection as a record holds it."""
        return {"appendOnly": self.append_only} | ({"reason": self.reason} if self.reason else {})


def observe(descriptor: int) -> Protection:
    """Read the flags of an open file."""
    try:
        flags = _get(descriptor)
    except OSError as error:
        return Protection(False, _reason(error))
    return Protection(True) if flags & APPEND else Protection(False, "the flag is not set")


def protect(descriptor: int, flags: int) -> Protection:
    """Set flags, and return the resulting protection."""
    try:
        now = _get(descriptor)
        if now & _KEPT != flags:
            _set(descriptor, now & ~_KEPT | flags)
    except OSError as error:
        return Protection(False, _reason(error))
    return observe(descriptor)


@contextlib.contextmanager
def unprotected(descriptor: int) -> Iterator[None]:
    """Clear both flags for the length of the block, and set them again afterwards.

    Raises:
        OSError: they are set and may not be cleared.
    """
    try:
        before = _get(descriptor) & _KEPT
    except OSError:  # no flags here: nothing stands in the way
        before = 0
    if before:
        _set(descriptor, _get(descriptor) & ~_KEPT)
    try:
        yield
    finally:
        if before:
            _set(descriptor, _get(descriptor) | before)


def _get(descriptor: int) -> int:
    buffer = bytearray(_LONG)
    fcntl.ioctl(descriptor, _GET, buffer)
    return int(struct.unpack_from("I", buffer)[0])


def _set(descriptor: int, flags: int) -> None:
    buffer = bytearray(_LONG)
    struct.pack_into("I", buffer, 0, flags)
    fcntl.ioctl(descriptor, _SET, buffer)


def _reason(error: OSError) -> str:
    if error.errno in _UNSUPPORTED:
        return "the file system has no append-only flag"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "the kernel does not let this machine's root set the append-only flag"
    return f"the flag cannot be set: {os.strerror(error.errno or 0)}"
