"""Console of rich that leaves a broken pipe to the runner of the command; imports rich."""

from __future__ import annotations

from rich.console import Console


class PipeConsole(Console):
    """Console whose reader may go; rich itself would end the process with status 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error that rich has just caught."""
        raise BrokenPipeError from None
