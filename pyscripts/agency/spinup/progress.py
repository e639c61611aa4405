"""Display of a spin-up: a live view on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agency.spinup.record import ProbeRecord, Recorder, StepRecord
from agency.terminal import plain

_GOOD, _BAD = "green", "bold red"


class Progress:
    """A listener that shows steps and probes as they happen. Use as a context manager."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._lines: list[Text] = []
        self._current: str | None = None
        self._passed = 0
        self._failed: list[str] = []
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                get_renderable=self._view,
                console=self._console,
                refresh_per_second=12,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _view(self) -> RenderableType:
        lines: list[RenderableType] = list(self._lines)
        if self._current is not None:
            lines.append(Spinner("dots", Text(self._current, style="bold")))
        lines.append(Text(f"{self._passed} facts observed", style="dim"))
        return Group(*lines)

    def _say(self, line: Text) -> None:
        self._lines.append(line)
        if self._live is None and not self._quiet:
            self._console.print(line)

    def step_began(self, name: str) -> None:
        """Show the step as running."""
        self._current = name
        if self._live is None and not self._quiet:
            self._console.print(Text(f"... {name}", style="dim"))

    def step_ended(self, record: StepRecord) -> None:
        """Show the step as ended."""
        self._current = None
        good = record.status == "done"
        line = Text(f"{'ok  ' if good else 'FAIL'} ", style=_GOOD if good else _BAD)
        line.append(f"{record.name:<14}{record.duration_s:7.2f} s", style="default not bold")
        if record.error:
            line.append(f"  {plain(record.error)}", style="not bold red")
        self._say(line)

    def probe_ended(self, record: ProbeRecord) -> None:
        """Count the probe; a failed one is shown with its reason."""
        if record.status == "passed":
            self._passed += 1
            return
        line = Text("     probe failed: ", style="yellow")
        line.append(f"{record.name}: {plain(record.reason or '')}", style="default")
        self._say(line)


def summary(console: Console, recorder: Recorder, *, result: str, reasons: list[str]) -> None:
    """Print the tables of steps and probes, and the verdict with its reasons."""
    steps, probes = _table("Steps", "step"), _table("Probes", "probe")
    for step in recorder.steps:
        style = {"done": _GOOD, "skipped": "dim"}.get(step.status, _BAD)
        steps.add_row(step.name, Text(step.status, style=style), f"{step.duration_s:.2f}")
    for probe in recorder.probes:
        style = _GOOD if probe.status == "passed" else ("yellow" if not probe.mandatory else _BAD)
        probes.add_row(probe.name, Text(probe.status, style=style), f"{probe.duration_s:.2f}")
    for block in (steps, probes):
        console.print()
        console.print(block)
    console.print()
    style = _GOOD if result == "PASSED" else _BAD
    console.print(Text("result: ").append(result, style=style))
    for reason in reasons:
        console.print(Text(f"  {plain(reason)}", style="red"))
    if recorder.failure is not None and recorder.failure.log_tail:
        console.print(Text("  the end of the log:", style="dim"))
        for entry in recorder.failure.log_tail:
            console.print(Text(f"  | {plain(entry)}", style="dim"))


def _table(title: str, of: str) -> Table:
    table = Table(of, "status", title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    return table
