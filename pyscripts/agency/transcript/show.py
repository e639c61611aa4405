"""Transcripts and verification reports as a person sees them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agency.terminal import plain
from agency.transcript.demands import challenge_of, profile_of
from agency.transcript.trial import told
from agency.transcript.verification import Report
from agency.transcript.versions import Predicate, Statement, Version, version_of

_GOOD, _BAD, _WEAK = "green", "bold red", "dim"
_STYLES = {
    "done": _GOOD,
    "passed": _GOOD,
    "PASSED": _GOOD,
    "failed": _BAD,
    "FAILED": _BAD,
    "skipped": _WEAK,
}
_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "--  "}


def show_statement(statement: Statement, printer: Console) -> None:
    """Print a transcript whose signature was not checked."""
    predicate = statement.predicate
    printer.print(Text("signature not checked: anyone may have written this", style="bold yellow"))
    printer.print()
    _facts(statement, printer)
    version = version_of(statement.predicate_type)
    parts = (_steps(predicate), _probes(predicate), _scenario(predicate))
    for table in (*parts, *_control(predicate, version), _gates(predicate)):
        printer.print(table)
        printer.print()
    _failure(predicate, printer)
    _result(statement, printer)


def show_report(report: Report, printer: Console, *, notes: Iterable[str] = ()) -> None:
    """Print the checks in their order, the signed facts, and the verdict."""
    for check in report.checks:
        line = Text(_MARKS[check.status], style=_STYLES[check.status])
        printer.print(line.append(f" {check.name}", style="default not bold"))
        for reason in check.reasons:
            printer.print(Text(f"       {plain(reason)}", style="red"))
    printer.print()
    if report.statement is not None:
        _facts(report.statement, printer)
    printer.print(Text("key      ", style=_WEAK).append(f"sha256:{report.key_sha256}", "not dim"))
    for note in notes:
        printer.print(Text(f"note: {plain(note)}", style="yellow"))
    style = _GOOD if report.ok else _BAD
    printer.print(Text("verdict: ").append(plain(report.verdict), style=style))


def show_rules(version: Version, printer: Console) -> None:
    """Print every probe with what it proves, and every gate with the probes that it needs."""
    printer.print(Text(f"rules {version}"))
    printer.print()
    table = _table("Probes", "probe", "mandatory for", "proves")
    for rule in version.judge.PROBES.values():
        needed = ", ".join(sorted(rule.targets)) or "-"
        table.add_row(rule.name, needed, rule.description)
    printer.print(table)
    printer.print()
    gates = _table("Gates", "gate", "needs")
    for name, probes in version.judge.GATES.items():
        gates.add_row(name, ", ".join(probes))
    printer.print(gates)


def _facts(statement: Statement, printer: Console) -> None:
    predicate, machine = statement.predicate, statement.predicate.environment
    challenge, profile = challenge_of(predicate), profile_of(predicate)
    facts = [
        ("rules", _judged_by(version_of(statement.predicate_type))),
        ("run", f"{predicate.run} on target {predicate.target}"),
        ("time", f"{predicate.started_at} to {predicate.finished_at}"),
        *(() if challenge is None else (("challenge", challenge),)),
        *((("profile", ", ".join(profile)),) if profile else ()),
        ("machine", f"{machine.os}, {machine.kernel}, {machine.machine}, as {machine.user}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in sorted(predicate.versions.items()))),
    ]
    for subject in statement.subject:
        facts += [(subject.name, f"{kind}:{value}") for kind, value in subject.digest.items()]
    width = max(len(name) for name, _ in facts) + 1
    for name, value in facts:
        printer.print(Text(f"{name:<{width}}", style=_WEAK).append(plain(value), style="not dim"))
    printer.print()


def _judged_by(version: Version) -> str:
    if version.draft:
        return f"{version}: they may change until {version.name} is released"
    return str(version)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "seconds" else "left")
    return table


def _styled(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""))


def _steps(predicate: Predicate) -> Table:
    table = _table("Steps", "step", "status", "seconds", "error")
    for step in predicate.steps:
        error = Text(plain(step.error or ""))
        table.add_row(Text(plain(step.name)), _styled(step.status), f"{step.duration_s:.2f}", error)
    return table


def _probes(predicate: Predicate) -> Table:
    table = _table("Probes", "probe", "mandatory", "mode", "status", "seconds", "reason")
    for probe in predicate.probes:
        table.add_row(
            Text(plain(probe.name)),
            "yes" if probe.mandatory else "no",
            probe.mode,
            _styled(probe.status),
            f"{probe.duration_s:.2f}",
            Text(plain(probe.reason or "")),
        )
    return table


def _scenario(predicate: Predicate) -> Table:
    table = _table("Scenario", "exchange", "as expected", "by", "said")
    for exchange in predicate.scenario:
        said = Text(plain(exchange.said[:100]))
        as_expected = Text("yes", style=_GOOD) if exchange.passed else Text("no", style=_BAD)
        table.add_row(Text(plain(exchange.name)), as_expected, Text(plain(exchange.by)), said)
    return table


def _control(predicate: Predicate, version: Version) -> tuple[Table, ...]:
    """Tell the trial of control in words; nothing of a transcript that has none."""
    table = _table("Control", "subject", "what was seen")
    for subject, lines in told(predicate, version):
        table.add_row(subject, Text("\n".join(map(plain, lines))))
    return (table,) if table.row_count else ()


def _gates(predicate: Predicate) -> Table:
    table = _table("Gates", "gate", "met", "reason")
    for gate in predicate.gates:
        table.add_row(Text(plain(gate.name)), "yes" if gate.met else "no", Text(plain(gate.reason)))
    return table


def _failure(predicate: Predicate, printer: Console) -> None:
    failure = predicate.failure
    if failure is None:
        return
    printer.print(Text(f"failed at step {plain(failure.step)}: {plain(failure.message)}", _BAD))
    for line in failure.log_tail:
        printer.print(Text(f"  | {plain(line)}", style=_WEAK))
    printer.print()


def _result(statement: Statement, printer: Console) -> None:
    predicate, version = statement.predicate, version_of(statement.predicate_type)
    printer.print(Text("it says: ").append(predicate.result, style=_STYLES[predicate.result]))
    result, reasons = version.judge.overall(predicate)
    printer.print(Text("its evidence says: ").append(result, style=_STYLES[result]))
    for reason in reasons:
        printer.print(Text(f"  {plain(reason)}", style="red"))
