"""Words for agents as they were observed, for replies. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.control.runtimes.base import RuntimeStatus, State, Usage

if TYPE_CHECKING:  # the CLI reads a noun's file too, and must not import the store
    from agency.control.execution.observation import Observation
    from agency.control.store.gosuto import Newest
    from agency.protocols import AgentStatus

_MIB = 1024 * 1024


def state_of(status: RuntimeStatus) -> str:
    """Say the state of an agent, and why it failed or is not known."""
    if status.state is State.FAILED:
        why = status.detail or f"exit status {status.exit_status}"
        return f"failed ({why})"
    if status.state is State.UNKNOWN:
        return f"unknown ({status.detail})"
    return str(status.state)


def answer_of(seen: Observation) -> str:
    """Say why a running agent does not answer; empty if it does."""
    if seen.problem is not None:
        return f"but it does not answer: {seen.problem}"
    return ""


def facts_of(seen: Observation, usage: Usage) -> list[tuple[str, str]]:
    """List what is known of an agent, by a word for each."""
    status, told = seen.status, seen.report or seen.told
    facts: list[tuple[str, str | None]] = [
        ("role", seen.entry.role),
        (status.handle_name, status.handle),
        ("started", status.started_at if status.state is not State.STOPPED else None),
    ]
    if told is not None:
        facts += [
            ("project", told.project or "-"),
            ("up", f"{told.uptime_s:.0f} s"),
            ("version", told.version),
        ]
    facts += [
        ("memory", None if usage.memory is None else f"{usage.memory / _MIB:.1f} MiB"),
        ("processor time", None if usage.cpu_s is None else f"{usage.cpu_s:.1f} s"),
        ("restarts by itself", None if usage.restarts is None else str(usage.restarts)),
        ("last exit status", None if status.exit_status is None else str(status.exit_status)),
    ]
    return [(key, value) for key, value in facts if value is not None]


def secrets_of(report: AgentStatus) -> str:
    """Say which secrets an agent holds, by name and version."""
    return ", ".join(f"{each.name} (version {each.version})" for each in report.secrets) or "-"


def document_of(held: str | None, newest: Newest | None, version: int | None) -> str:
    """Say which version of its Gosuto an agent holds, by the digest that it reports.

    `version` is the number that `held` has among its versions.
    """
    if held is not None and newest is not None and held == newest.sha256:
        return f"version {newest.number}"
    if held is None:
        text = "-" if newest is None else "none"
    else:
        text = f"sha256:{held}, no version of it" if version is None else f"version {version}"
    return text if newest is None else f"{text}; the newest is {newest.number}"
