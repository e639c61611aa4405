"""Reader of a list that holds what strangers wrote: one object that is too large hides no other.

A forge escapes what it sends, so that a comment of a megabyte can be an answer of six. A page above
the bound of an answer is read again in smaller ones, and what is too large alone is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agency.forge.contract import MOST
from agency.forge.errors import ForgeTooLargeError

PAGE = 50  # the most that Gitea gives of a list at once, by default
WHOLE = (PAGE,)  # a page that is too large is an error
LEAVING_OUT = (PAGE, 10, 1)  # each size is a multiple of the next
Read = Callable[[int, int], Awaitable[list[dict[str, Any]]]]  # number of the page, its size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects of a list; `cut` if it was not read to its end."""

    objects: list[dict[str, Any]]
    cut: bool


async def read_pages(read: Read, sizes: tuple[int, ...]) -> Listed:
    """Read a list page by page, at most MOST objects with those that are left out.

    A page of the first of `sizes` that is too large is read in pages of the next one, and an object
    that is too large by itself is left out.

    Raises:
        ForgeError, ForgeUnreachableError: as `read` does, for a page that is too large where there
            is no smaller one.
    """
    found: list[dict[str, Any]] = []
    seen, page = 0, 1
    while seen < MOST:
        objects, count = await _page(read, page, sizes)
        found += objects
        seen += count
        if count < sizes[0]:
            return Listed(found, cut=False)
        page += 1
    return Listed(found, cut=True)


async def _page(read: Read, page: int, sizes: tuple[int, ...]) -> tuple[list[dict[str, Any]], int]:
    """Return what can be read of a page, and how many objects the forge has on it."""
    size, *smaller = sizes
    try:
        objects = await read(page, size)
    except ForgeTooLargeError as error:
        if not smaller:
            if size > 1:
                raise
            fields = {"where": error.where, "error": error.message}
            _log.warning("left out of a list what is too large", extra={"fields": fields})
            return [], 1
    else:
        return objects, len(objects)
    parts = size // smaller[0]
    found: list[dict[str, Any]] = []
    seen = 0
    for part in range(parts):
        objects, count = await _page(read, (page - 1) * parts + 1 + part, tuple(smaller))
        found += objects
        seen += count
        if count < smaller[0]:
            break
    return found, seen
