"""Keys of the values that a request carries from one handler to the next."""

from __future__ import annotations

from typing import TypeVar, cast

from aiohttp import web

T = TypeVar("T")


def request_key(name: str, kind: type[T]) -> web.RequestKey[T]:
    """Make a key for values of one type.

    aiohttp before 3.14 has no such keys and takes a text, which later versions warn of.
    """
    made = getattr(web, "RequestKey", None)
    return web.RequestKey(name, kind) if made else cast("web.RequestKey[T]", name)
