"""Probes as units: each is found by its name, and one that spin-ups take has a rule."""

from __future__ import annotations

import pytest

from agency.errors import UsageError
from agency.spinup.probes.probe import Moment, Nothing, find, probes, run, taken_at
from agency.transcript import PROBES as RULES


def test_probes_of_a_moment_are_judged_by_a_rule() -> None:
    taken = [name for moment in Moment for name in taken_at(moment)]
    assert taken == ["store.schema", "audit.chain"]
    assert set(taken) <= set(RULES)


def test_probes_of_a_moment_are_told_nothing() -> None:
    for unit in probes().values():
        assert unit.moment is None or unit.told is Nothing, unit.name
        assert unit.summary.endswith("."), unit.name


def test_a_probe_that_does_not_exist_is_refused_by_name() -> None:
    assert find("store.schema").name == "store.schema"
    with pytest.raises(UsageError, match=r"no probe 'store\.shema'"):
        find("store.shema")


async def test_a_probe_runs_here_with_what_it_is_told() -> None:
    here: object = object()
    seen = await run(here, "system.processes", {"pids": {"none": 4194300}})  # type: ignore[arg-type]
    assert seen == {"running": [{"name": "none", "pid": 4194300, "rssMb": 0.0}]}
