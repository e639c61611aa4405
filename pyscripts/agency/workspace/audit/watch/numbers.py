"""Numbers of the watch in Prometheus' text format, for the node exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agency.workspace.audit.watch.state import State, Watched
from agency.workspace.audit.watch.tallies import Tally


def metrics(
    state: State,
    agents: Iterable[str],
    unusual: Mapping[str, Sequence[str]] | None,
    now: float,
) -> str:
    """Write the numbers of the watched logs, and zeros for `agents` that have none yet.

    `unusual` is None where programs are not looked at.
    """
    tallies = {name: Tally() for name in agents} | {n: a.tally for n, a in state.agents.items()}
    heard = {name: tally.last_at for name, tally in tallies.items() if tally.last_at}
    lines = [
        *_family("records_total", "counter", "Records of an agent.", _each(tallies, "records")),
        *_family(
            "denials_total",
            "counter",
            "Calls of tools that policy or people refused.",
            _each(tallies, "denials"),
        ),
        *_family(
            "lost_total",
            "counter",
            "Events that an agent could not put on record.",
            _each(tallies, "lost"),
        ),
        *_family("last_record_timestamp_seconds", "gauge", "Time of the newest record.", heard),
        *_family(
            "chain_broken",
            "gauge",
            "Whether the log no longer follows from what was read of it.",
            {name: _is_broken(state.agents.get(name)) for name in tallies},
        ),
    ]
    if unusual is not None:
        count = {name: len(unusual.get(name, ())) for name in [*tallies, *unusual]}
        lines += _family("unusual_programs", "gauge", "Programs that are not usual.", count)
    name = "agency_audit_watched_timestamp_seconds"
    lines += [f"# HELP {name} When the logs were last read.", f"# TYPE {name} gauge"]
    return "\n".join([*lines, f"{name} {now:.0f}"]) + "\n"


def _family(name: str, kind: str, text: str, values: Mapping[str, float]) -> list[str]:
    full = f"agency_audit_{name}"
    head = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    return head + [
        f'{full}{{agent="{agent}"}} {value:.0f}' for agent, value in sorted(values.items())
    ]


def _each(tallies: Mapping[str, Tally], field: str) -> dict[str, float]:
    return {name: getattr(tally, field) for name, tally in tallies.items()}


def _is_broken(watched: Watched | None) -> int:
    return int(watched is not None and watched.broken is not None)
