"""Asynchronous contexts of synchronous tests: each in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")
_MOST_S = 20.0


@contextmanager
def in_background(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter a context in the background, and leave it at the end."""
    entered: Future[T] = Future()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def hold() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await over.wait()
        except BaseException as error:
            if not entered.done():
                entered.set_exception(error)
            raise

    holding = threading.Thread(target=loop.run_until_complete, args=(hold(),), daemon=True)
    holding.start()
    try:
        yield entered.result(_MOST_S)
    finally:
        loop.call_soon_threadsafe(over.set)
        holding.join(_MOST_S)
        assert not holding.is_alive()
        loop.close()
