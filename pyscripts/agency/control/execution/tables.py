"""Tables in fixed width."""

from __future__ import annotations

from collections.abc import Sequence

_WIDEST = 120


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows as columns; an empty header is left out, a long cell is cut."""
    lines = [[cell[:_WIDEST] for cell in row] for row in ([header, *rows] if header else rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
