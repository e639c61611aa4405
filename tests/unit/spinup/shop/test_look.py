"""A look at the shop: what is there is asked, what is absent is named, and the gate is computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from observing import Machine
from rich.console import Console

from agency.clock import Clock
from agency.instance import LoadedInstance, load_instance
from agency.quarantine import Quarantine
from agency.secrets import Redactor
from agency.spinup.probes.probe import run
from agency.spinup.progress import Progress
from agency.spinup.record import Evidence, Recorder
from agency.spinup.shop.look import Shop, instance_digest
from agency.spinup.statement import Facts, statement
from agency.transcript.rules.v2.subjects import broken_subjects

ROOT = Path(__file__).resolve().parents[4]
UNITS = {
    "matrix-synapse.service": ("loaded", "active"),
    "grafana.service": ("loaded", "failed"),
    "prometheus.service": ("loaded", "active"),
    "drone-server.service": ("loaded", "active"),
    "k3s.service": ("not-found", "inactive"),
    "nginx.service": ("loaded", "inactive"),
}


@dataclass
class Host:
    """A host that shows UNITS and notes what is asked; services themselves do not answer."""

    asked: list[tuple[str, Mapping[str, object] | None]] = field(default_factory=list)
    units: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(UNITS))

    async def observe(self, probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        if probe != "shop.units":
            self.asked.append((probe, told))
            return {}
        assert told is not None
        states = {
            name: {"load": load, "active": active, "sub": ""}
            for name in told["units"]  # type: ignore[attr-defined]
            for load, active in (self.units[name],)
        }
        return {"instance": {"name": "example", "domain": "agency.example"}, "units": states}


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedInstance:
    document = yaml.safe_load((ROOT / "instance/instance.yaml").read_text())
    on = {name: {"enable": True} for name in ("observability", "k3s", "edge")}
    document["services"] |= {**on, "ci": {"enable": True, "engine": "drone"}}
    (tmp_path / "instance.yaml").write_text(yaml.safe_dump(document))
    return load_instance(tmp_path)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("ssh", Clock(), Progress(Console(quiet=True), quiet=True))


async def working() -> list[str]:
    return ["pm"]


async def test_what_is_there_is_asked_and_what_is_absent_is_not(
    loaded: LoadedInstance, recorder: Recorder
) -> None:
    host = Host()
    shop = Shop(recorder, host.observe, loaded)
    await shop.look()
    assert host.asked == [("shop.grafana", {}), ("shop.ci", {"engine": "drone"})]
    (listed, *_) = recorder.probes
    assert listed.status == "passed", listed.reason
    absent = {one["service"]: one["why"] for one in listed.evidence["services"] if one["why"]}
    assert absent == {
        "edge": "nginx.service is inactive",
        "k3s": "the machine has no k3s.service",
    }
    await shop.metrics(working)
    assert host.asked[-1] == ("metrics.scraped", {"agents": ["pm"]})


async def test_what_a_stand_in_has_made_is_simulated(
    loaded: LoadedInstance, recorder: Recorder
) -> None:
    await Shop(recorder, Host().observe, loaded, frozenset(("shop.ci",))).look()
    modes = {one.name: one.mode for one in recorder.probes}
    assert modes == {
        "shop.services": "observed",
        "shop.grafana": "observed",
        "shop.ci": "simulated",
    }


async def test_further_services_are_asked_once(loaded: LoadedInstance, recorder: Recorder) -> None:
    host = Host()
    shop = Shop(recorder, host.observe, loaded)
    await shop.look()
    await shop.also(("ci", "k3s", "swarm"), loaded.instance)
    # The first was asked already, and the last is not of this instance.
    assert [name for name, _ in host.asked] == ["shop.grafana", "shop.ci", "shop.k3s"]


async def test_without_prometheus_nobody_is_asked_for_numbers(
    loaded: LoadedInstance, recorder: Recorder
) -> None:
    host = Host()
    host.units["prometheus.service"] = ("not-found", "inactive")
    shop = Shop(recorder, host.observe, loaded)
    await shop.look()

    async def never() -> list[str]:
        raise AssertionError("nobody needs to know who works")

    await shop.metrics(never)
    assert "metrics.scraped" not in {probe for probe, _ in host.asked}


async def test_a_machine_that_does_not_say_has_no_shop(
    loaded: LoadedInstance, recorder: Recorder
) -> None:
    async def silent(probe: str, told: Mapping[str, object] | None = None) -> Evidence:
        raise OSError("no answer")

    await Shop(recorder, silent, loaded).look()
    assert [(one.name, one.status) for one in recorder.probes] == [("shop.services", "failed")]


async def test_the_transcript_says_why_the_gate_is_not_met(
    loaded: LoadedInstance, recorder: Recorder
) -> None:
    await Shop(recorder, Host().observe, loaded).look()
    made = statement(
        recorder,
        Facts(
            run="run-0000000000000000",
            started_at="2026-07-01T12:00:00.000Z",
            finished_at="2026-07-01T12:00:01.000Z",
            subjects={
                "source": {"sha256": "a1" * 32},
                "instance": {"sha256": instance_digest(loaded)},
            },
            versions={"agency": "0.1.0"},
            network=Quarantine("none", "a host with interfaces"),
        ),
        Redactor([]),
    )
    (gate,) = (one for one in made.predicate.gates if one.name == "shop")
    assert not gate.met
    for reason in (
        "matrix: the probe homeserver.versions is missing",
        "edge is absent: nginx.service is inactive",
        "grafana: the probe shop.grafana does not hold",
        "prometheus: the probe metrics.scraped is missing",
        "k3s is absent: the machine has no k3s.service",
        "ci: the probe shop.ci does not hold",
    ):
        assert reason in gate.reason
    assert list(broken_subjects(made)) == []


def test_an_instance_that_enables_less_has_another_digest(
    loaded: LoadedInstance, tmp_path: Path
) -> None:
    file = tmp_path / "less" / "instance.yaml"
    file.parent.mkdir()
    document = yaml.safe_load((tmp_path / "instance.yaml").read_text())
    del document["services"]["k3s"]
    file.write_text(yaml.safe_dump(document))
    assert instance_digest(load_instance(file.parent)) != instance_digest(loaded)


async def test_the_units_are_asked_by_the_program_of_the_machine(
    machine: Machine, states: Callable[[str], object]
) -> None:
    states(json.dumps({"k3s.service": ["not-found", "inactive"]}))
    seen: Any = await run(machine, "shop.units", {"units": sorted(UNITS)})  # type: ignore[arg-type]
    assert seen["instance"] == {"name": "example", "domain": "agency.example"}
    assert seen["units"]["k3s.service"]["load"] == "not-found"
    assert seen["units"]["grafana.service"]["active"] == "active"
