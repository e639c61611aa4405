"""Terminal of a trial: lines that are shown, lines that a person types, and one question."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from agency.terminal import plain, plain_lines

_WIDTH = 80
_MOST = 64 * 1024  # bytes of a typed line


class Lines:
    """Reader of typed lines that can be cancelled at any moment."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self._ended = False

    async def next(self) -> str | None:
        """Return the next line, None at the end of the input."""
        while b"\n" not in self._buffer and not self._ended and len(self._buffer) < _MOST:
            await self._more()
        line, newline, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace") if line or newline else None

    def forget(self) -> None:
        """Forget what was typed before now: it was no answer to what is asked next."""
        self._buffer = b""
        if os.isatty(self._descriptor):
            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    async def _more(self) -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, came.set)
        try:
            await came.wait()
        finally:
            loop.remove_reader(self._descriptor)
        try:
            chunk = os.read(self._descriptor, 4096)
        except OSError:  # the terminal is gone
            chunk = b""
        # Ctrl-D ends the input at this moment; a terminal would go on afterwards.
        self._ended = not chunk
        self._buffer += chunk


@dataclass(slots=True)
class Terminal:
    """Terminal of a person; `lines` is None if nobody is there to be asked."""

    console: Console
    lines: Lines | None
    quiet: bool = False
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def show(self, text: str, style: str = "") -> None:
        """Show text that may have several lines; nothing in it is obeyed by the terminal."""
        if not self.quiet or self.lines is not None:
            shown = Text(plain_lines(text), style=style)
            self.console.print(shown, soft_wrap=not self.console.is_terminal)

    def fields(self, rows: Sequence[tuple[str, str]], style: str = "") -> None:
        """Show named values, one a line, wrapped below one another."""
        for name, value in rows:
            head = f"  {name:10} "
            width = max(20, min(self.console.width, _WIDTH) - len(head))
            for at, piece in enumerate(_wrapped(plain(value), width)):
                self.show((head if at == 0 else " " * len(head)) + piece, style)

    def brief(self, text: str, style: str = "") -> None:
        """Show one line, cut where the terminal ends."""
        width = max(40, min(self.console.width, _WIDTH)) - 1
        line = plain(text)
        self.show(line if len(line) <= width else line[: width - 1] + "…", style)

    async def ask(self, prompt: str, *, fresh: bool = False) -> str | None:
        """Ask for a line; None at the end of the input, or if nobody is there.

        With `fresh` only what is typed after the question counts.
        """
        if self.lines is None:
            return None
        async with self._asking:
            if fresh:
                self.lines.forget()
            self.console.print(Text(prompt, style="bold"), end="")
            self.console.file.flush()
            return await self.lines.next()


def _wrapped(text: str, width: int) -> list[str]:
    """Cut a text into lines, after a space where there is one; no letter is lost."""
    lines = []
    while len(text) > width:
        at = text.rfind(" ", width // 2, width) + 1 or width
        lines.append(text[:at])
        text = text[at:]
    return [*lines, text]
