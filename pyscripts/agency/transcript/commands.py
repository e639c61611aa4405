"""`agency transcript`: show and verify transcripts, and print the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from agency.commandline import emit, json_option
from agency.errors import ExitCode, PrerequisiteError
from agency.source_digest import source_digest
from agency.transcript.demand_options import demands_options
from agency.transcript.demands import Demands, challenge_of
from agency.transcript.envelope import MAX_ENVELOPE_BYTES
from agency.transcript.show import show_report, show_rules, show_statement
from agency.transcript.signing import MAX_KEY_BYTES
from agency.transcript.verification import Policy, Report, SubjectClaim, read_unchecked
from agency.transcript.verification import verify as verify_transcript
from agency.transcript.versions import CURRENT, VERSIONS, Version, version_of

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_file_argument = click.argument("file", type=_FILE)
_BY_NAME = {version.name: version for version in VERSIONS.values()}
_rules_option = click.option(
    "--rules",
    "name",
    type=click.Choice(list(_BY_NAME)),
    default=CURRENT.name,
    show_default=True,
    help="The version of the rules.",
)


def _names(of: Callable[[Version], Iterable[str]]) -> list[str]:
    """List the names that `of` gives for any version, each once."""
    return list(dict.fromkeys(name for version in VERSIONS.values() for name in of(version)))


@click.group()
def transcript() -> None:
    """Show and verify the signed records of spin-ups."""


@transcript.command()
@_file_argument
@click.option("--key", type=_FILE, required=True, help="The public key that you trust, in PEM.")
@click.option(
    "--require",
    "probes",
    multiple=True,
    type=click.Choice(_names(lambda version: version.judge.PROBES)),
    metavar="PROBE",
    help="Demand a probe that is not mandatory. May be repeated.",
)
@click.option(
    "--require-gate",
    "--gate",
    "gates",
    multiple=True,
    type=click.Choice(_names(lambda version: version.judge.GATES)),
    metavar="GATE",
    help="Demand that a gate is met, such as hermetic or shop. May be repeated.",
)
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    metavar="NAME=ALGORITHM:HEX",
    help="Demand a digest, such as source=gitCommit:... May be repeated.",
)
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Demand that it is about the source in this directory, whose digest is recomputed.",
)
@demands_options
@json_option
def verify(
    file: Path,
    key: Path,
    probes: tuple[str, ...],
    gates: tuple[str, ...],
    subjects: tuple[str, ...],
    source: Path | None,
    demands: Demands,
    as_json: bool,
) -> int:
    """Verify a transcript: its signature, its completeness, and its evidence, judged again.

    Exit status: 0 it is authentic, complete and PASSED; 1 it is not, with the reason.
    """
    claims = [SubjectClaim.parse(text) for text in subjects]
    notes: list[str] = []
    if source is not None:
        found = source_digest(source)
        claims.append(SubjectClaim("source", "sha256", found.sha256))
        if found.dirty:
            notes.append(f"{source} is not a clean git checkout: its digest is that of no commit")
    policy = Policy(probes=probes, gates=gates, subjects=tuple(claims), about=demands)
    report = verify_transcript(
        _read(file, MAX_ENVELOPE_BYTES + 1), _read(key, MAX_KEY_BYTES), policy=policy
    )
    emit(
        {**_report_document(report), "notes": notes},
        as_json=as_json,
        human=lambda printer: show_report(report, printer, notes=notes),
    )
    return int(ExitCode.DONE if report.ok else ExitCode.BAD)


@transcript.command()
@_file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what a transcript says: steps, probes, times, verdict. Its signature is not checked."""
    statement = read_unchecked(_read(file, MAX_ENVELOPE_BYTES + 1), where=str(file))
    version = version_of(statement.predicate_type)
    result, reasons = version.judge.overall(statement.predicate)
    emit(
        {
            "signatureChecked": False,
            "rules": _version_document(version),
            "statement": statement.document(),
            "judged": {"result": result, "reasons": reasons},
        },
        as_json=as_json,
        human=lambda printer: show_statement(statement, printer),
    )


@transcript.command()
@_rules_option
@json_option
def schema(name: str, as_json: bool) -> None:  # noqa: ARG001 - it is JSON either way
    """Print the JSON Schema of a transcript's Statement."""
    click.echo(_BY_NAME[name].schema_text(), nl=False)


@transcript.command()
@_rules_option
@json_option
def probes(name: str, as_json: bool) -> None:
    """List the probes and gates: what each proves, and where it is mandatory."""
    version = _BY_NAME[name]
    rules = [
        {
            "name": rule.name,
            "description": rule.description,
            "mandatoryFor": sorted(rule.targets),
            "gates": [gate for gate, needed in version.judge.GATES.items() if rule.name in needed],
        }
        for rule in version.judge.PROBES.values()
    ]
    emit(rules, as_json=as_json, human=lambda printer: show_rules(version, printer))


def _read(file: Path, limit: int) -> bytes:
    """Read at most `limit` bytes of a file."""
    try:
        with file.open("rb") as handle:
            return handle.read(limit)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror or error}",
            where=str(file),
            hint="check the path and its permissions",
        ) from error


def _version_document(version: Version) -> dict[str, Any]:
    """Describe the rules that a transcript was judged by."""
    return {
        "version": version.name,
        "predicateType": version.predicate_type,
        "draft": version.draft,
    }


def _report_document(report: Report) -> dict[str, Any]:
    statement = report.statement
    predicate = None if statement is None else statement.predicate
    return {
        "ok": report.ok,
        "authentic": report.authentic,
        "rules": _version_document(report.version) if report.version else None,
        "verdict": report.verdict,
        "refusedBy": report.refused_by,
        "checks": [
            {"name": check.name, "status": check.status, "reasons": list(check.reasons)}
            for check in report.checks
        ],
        "keySha256": report.key_sha256,
        "target": predicate.target if predicate else None,
        "run": predicate.run if predicate else None,
        "startedAt": predicate.started_at if predicate else None,
        "finishedAt": predicate.finished_at if predicate else None,
        "challenge": challenge_of(predicate) if predicate else None,
        "result": predicate.result if predicate else None,
        "subjects": {part.name: part.digest for part in statement.subject} if statement else None,
    }
