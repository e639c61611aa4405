"""Alerts about the agents' audit logs, by the real Prometheus with the module's rules.

    logs by their own writer ─▶ watch ─▶ file ─▶ node exporter ─▶ Prometheus ─▶ rules

Clocks are moved for the hours of silence; the waits of the rules (`for`) are two seconds.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from debian_programs import program

from agency import ports
from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage import flags
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.watch.programs import Programs, Running
from agency.workspace.audit.watch.watching import Watch

RULES = Path(__file__).resolve().parents[4] / "modules/observability/alerts.yml"
GROUP = "agents-audit"
AGENTS = {4001: "pm", 4002: "dev", 4003: "qa"}
HOURS_3 = 3 * 3600.0


@dataclass
class Machine:
    """Logs, the watch over them, and the units that a machine's node exporter would tell of."""

    numbers: Path
    watch: Watch
    logs: Logs
    late: Logs

    def put(self, agent: str, event: str, times: int = 1, *, late: bool = False, **detail: object):
        logs = self.late if late else self.logs
        for _ in range(times):
            logs.append(agent, Sender(4001, 1), event, detail)

    def look(self, *programs: tuple[int, str], ago_s: float = 0.0) -> None:
        """Look as the unit does each minute; `programs` run as these uids."""
        processes = [Running(number, uid, name) for number, (uid, name) in enumerate(programs)]
        self.watch.look(Clock(wall=lambda: time.time() - ago_s), lambda: processes)

    def cut(self, agent: str) -> None:
        """Take the last records off a log, as one who may write the disk can."""
        self.logs.close()
        path = self.watch.logs / f"{agent}.jsonl"
        changeable(path)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-4]))

    def units(self, *active: str) -> None:
        """Say which agents' units are active, in the node exporter's own words."""
        states = "".join(
            f'node_systemd_unit_state{{name="agency-agent@{name}.service",state="{state}",'
            f'type="simple"}} {int((state == "active") == (name in active))}\n'
            for name in AGENTS.values()
            for state in ("active", "inactive")
        )
        (self.numbers / "units.prom").write_text(f"# TYPE node_systemd_unit_state gauge\n{states}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    directory, state, numbers = (tmp_path / name for name in ("logs", "state", "numbers"))
    for path in (directory, state, numbers):
        path.mkdir()
    watch = Watch(
        logs=directory,
        state=state,
        metrics=numbers / "agency-audit.prom",
        agents=tuple(AGENTS.values()),
        agent_of=AGENTS.get,
        programs=Programs(usual=("agency", "python3*")),
    )
    bounds = Bounds(free_bytes=0)
    past = Clock(wall=lambda: time.time() - HOURS_3)
    with Place(directory) as place:
        logs, late = (Logs(place, clock, bounds, retention_days=90) for clock in (Clock(), past))
        yield Machine(numbers, watch, logs, late)
        logs.close()
        late.close()
        for path in directory.iterdir():
            changeable(path)


def changeable(path: Path) -> None:
    """Take the kernel's flags off a log."""
    with path.open("rb") as log:
        flags.protect(log.fileno(), 0)


@pytest.fixture
def node_exporter(machine: Machine, tmp_path: Path) -> Iterator[int]:
    """The real node exporter over the machine's files."""
    port = ports.assign(("node-exporter",), {})["node-exporter"]
    name = "prometheus-node-exporter"
    argv = [program(name, name), "--collector.disable-defaults", "--collector.textfile"]
    argv += [f"--collector.textfile.directory={machine.numbers}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "node.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    yield port
    process.terminate()
    process.wait(10)


def test_each_alert_of_the_agents_audit_fires_on_its_trouble_and_on_no_other(
    machine: Machine, node_exporter: int, monitoring_alone: Any, wait_for: Any
) -> None:
    machine.units("pm", "qa")
    machine.put("pm", "agent.started")
    machine.put("dev", "agent.started", late=True)  # it was stopped since
    machine.put("qa", "tool.decided", 15, decision="deny")
    machine.look((4001, "agency"), (4002, ".agency-wrapped"), (0, "sshd"))
    monitoring_alone.exporters["node"] = node_exporter
    monitoring_alone.start()
    wait_for(lambda: monitoring_alone.value("agency_audit_records_total"), "numbers", 40)
    # Some refusals, as every agent has them, a program of root, an agent at rest: no alert.
    machine.put("qa", "tool.decided", 15, decision="deny")
    machine.put("pm", "tool.decided", 200, decision="allow")
    machine.look((4001, "python3.11"), (0, "nc"))
    written = 'agency_audit_records_total{agent="pm"} > 200'
    wait_for(lambda: monitoring_alone.value(written), "the second look", 40)
    time.sleep(4)  # more than the waits of the rules
    assert monitoring_alone.firing(GROUP) == set()

    machine.units("pm", "qa", "dev")
    machine.put("pm", "tool.decided", 25, decision="deny")
    machine.put("pm", "audit.lost", events=3)
    machine.cut("qa")
    machine.look((4001, "python3.11"), (4003, "nc"), ago_s=2 * 3600)
    wanted = {
        ("AgentIsDeniedOften", "pm"),
        ("AgentLosesRecords", "pm"),
        ("AgentIsSilent", "agency-agent@dev.service"),
        ("AgentRunsUnusualPrograms", "qa"),
        ("AgentAuditBroken", "qa"),
        ("AgentsAuditNotWatched", ""),
    }
    wait_for(lambda: monitoring_alone.firing(GROUP) == wanted, f"alerts {wanted}", 40)


def test_no_rule_is_left_out_and_each_number_is_made(machine: Machine) -> None:
    (group,) = (g for g in yaml.safe_load(RULES.read_text())["groups"] if g["name"] == GROUP)
    source = Path(__file__).read_text()
    assert all(f'("{rule["alert"]}", ' in source for rule in group["rules"])
    machine.put("pm", "agent.started")
    machine.look()
    made = machine.watch.metrics.read_text()
    asked = {
        word.split("[")[0].rstrip()
        for rule in group["rules"]
        for word in rule["expr"].replace("(", " ").split()
        if word.startswith("agency_audit_")
    }
    assert asked
    for name in asked:
        assert f"# TYPE {name} " in made, name
