"""`metrics.scraped` by a real Prometheus, with real exporters and our own control plane.

    control plane (ours) ─┐
    process exporter ─────┼─▶ Prometheus ◀── the probe
    node exporter ────────┘

Programs are Debian's. The agent is a process of the uid that an agent has; who shows its name is a
file of users that the process exporter alone sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from debian_programs import program
from observing import Take

from agency import naming, ports
from agency.spinup.probes.homeserver import rss_mb

AGENT = "pm"
WORK = "import time\nwhile True:\n    sum(range(20000))\n    time.sleep(0.01)\n"
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user: needs root")
]


@dataclass
class Farm:
    """Programs by name: each is started, stopped and started again by the same command."""

    place: Path
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    env: dict[str, dict[str, str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.commands[name],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env.get(name, {})},
            )

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        process.wait(20)

    def wait(self, what: Callable[[], bool], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(requests.RequestException):
                if what():
                    return
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    def logs(self) -> str:
        return "\n".join(
            f"{file.name}: {file.read_text()[-1500:]}" for file in self.place.glob("*.log")
        )

    def query(self, expression: str) -> list[dict[str, object]]:
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query"
        found = requests.get(url, params={"query": expression}, timeout=5).json()
        result: list[dict[str, object]] = found["data"]["result"]
        return result


def _control(farm: Farm) -> tuple[str, ...]:
    """Our own control plane; it waits for a homeserver, and counts meanwhile."""
    place = farm.place / "control"
    credentials = place / "credentials"
    credentials.mkdir(parents=True)
    for name in ("matrix-as-token", "matrix-hs-token"):
        (credentials / name).write_text("simulated-token-of-a-test-" + name)
        (credentials / name).chmod(0o600)
    config = {
        "instance": "example",
        "domain": "agency.example",
        "homeserver_url": "http://127.0.0.1:9",
        "listen_port": farm.ports["control"],
        "bot_id": "@agency:agency.example",
        "control_room_alias": "#control:agency.example",
        "operators": ["@alice:agency.example"],
        "agents": [],
        "database_url": f"sqlite+aiosqlite:///{place}/control.db",
        "state_dir": str(place),
        "runtime": "process",
    }
    (place / "control.json").write_text(json.dumps(config))
    farm.env["control"] = {"CREDENTIALS_DIRECTORY": str(credentials)}
    return (sys.executable, "-m", "agency", "control", "run", "--config", f"{place}/control.json")


def _prometheus(farm: Farm) -> tuple[str, ...]:
    """The jobs of modules/observability, scraped each second."""
    names = {"prometheus": "prometheus", "node": "node", "processes": "process"}
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{farm.ports[name]}"]}]}
        for job, name in {**names, "control": "control"}.items()
    ]
    document = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (farm.place / "prometheus.yml").write_text(json.dumps(document))
    return (
        program("prometheus", "prometheus"),
        f"--config.file={farm.place}/prometheus.yml",
        f"--storage.tsdb.path={farm.place}/numbers",
        f"--web.listen-address=127.0.0.1:{farm.ports['prometheus']}",
    )


def _processes(farm: Farm) -> tuple[str, ...]:
    """The exporter with the module's configuration; it alone sees a user of the agent's name."""
    uid = naming.agent_uid(AGENT)
    line = f"{naming.agent_user(AGENT)}:x:{uid}:{naming.AGENTS_GID}::/nonexistent:/bin/false\n"
    users = farm.place / "passwd"
    users.write_text(Path("/etc/passwd").read_text() + line)
    config = farm.place / "processes.yml"
    config.write_text('process_names:\n  - name: "{{.Username}}"\n    cmdline: [".+"]\n')
    exporter = program("prometheus-process-exporter", "prometheus-process-exporter")
    shell = 'mount --bind "$1" /etc/passwd && shift && exec "$@"'
    return (
        *("unshare", "--mount", "sh", "-c", shell, "sh", str(users)),
        *(exporter, f"--config.path={config}"),
        f"--web.listen-address=127.0.0.1:{farm.ports['process']}",
    )


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("metrics"))
    names = ("prometheus", "node", "process", "control")
    farm.ports = ports.assign(names, {})
    farm.commands = {
        "prometheus": _prometheus(farm),
        "process": _processes(farm),
        "control": _control(farm),
        "node": (
            program("prometheus-node-exporter", "prometheus-node-exporter"),
            "--collector.disable-defaults",
            "--collector.meminfo",
            f"--web.listen-address=127.0.0.1:{farm.ports['node']}",
        ),
        "agent": (
            *("setpriv", f"--reuid={naming.agent_uid(AGENT)}", f"--regid={naming.AGENTS_GID}"),
            *("--clear-groups", "/usr/bin/python3", "-c", WORK),
        ),
    }
    try:
        for name in ("agent", "node", "process", "control", "prometheus"):
            farm.start(name)
        farm.wait(lambda: len(farm.query("up == 1")) == 4)
        yield farm
    finally:
        for name in list(farm.running):
            farm.stop(name)


async def test_every_target_answers_and_the_agent_is_read_back(farm: Farm, take: Take) -> None:
    seen = await take("metrics.scraped", agents=[AGENT], ports=farm.ports)
    assert seen.status == "passed", (seen.reason, seen.evidence, farm.logs())
    assert {one["job"] for one in seen.evidence["targets"]} == {
        "prometheus",
        "node",
        "processes",
        "control",
    }
    (agent,) = seen.evidence["agents"]
    # What the kernel says of the very process, give or take what it did in between.
    resident = rss_mb(farm.running["agent"].pid) * 2**20
    assert agent["memoryBytes"] == pytest.approx(resident, rel=0.2)
    assert agent["cpuS"] > 0
    later = await take("metrics.scraped", agents=[AGENT], ports=farm.ports)
    assert later.evidence["agents"][0]["cpuS"] >= agent["cpuS"]


async def test_an_agent_that_nothing_counts_is_missing(farm: Farm, take: Take) -> None:
    seen = await take("metrics.scraped", agents=["developer"], ports=farm.ports, within_s=2)
    assert seen.status == "failed"
    assert "agents" in str(seen.reason)
    assert seen.evidence["agents"] == []


async def test_an_agent_that_has_ended_is_missing(farm: Farm, take: Take) -> None:
    """The exporter remembers its name, with no memory."""
    farm.stop("agent")
    memory = (
        f'sum(namedprocess_namegroup_memory_bytes{{groupname="agent-{AGENT}",memtype="resident"}})'
    )
    farm.wait(lambda: farm.query(f"{memory} == 0") != [])
    try:
        seen = await take("metrics.scraped", agents=[AGENT], ports=farm.ports, within_s=2)
        assert (seen.status, seen.evidence["agents"]) == ("failed", [])
    finally:
        farm.start("agent")
        farm.wait(lambda: farm.query(f"{memory} > 0") != [])
    assert (await take("metrics.scraped", agents=[AGENT], ports=farm.ports)).status == "passed"


@pytest.mark.parametrize(("name", "job"), [("node", "node"), ("control", "control")])
async def test_a_target_that_is_down_is_named(name: str, job: str, farm: Farm, take: Take) -> None:
    farm.stop(name)
    farm.wait(lambda: farm.query(f'up{{job="{job}"}} == 0') != [])
    try:
        seen = await take("metrics.scraped", agents=[AGENT], ports=farm.ports)
        assert seen.status == "failed"
        assert "health" in str(seen.reason)
        down = {one["job"] for one in seen.evidence["targets"] if one["health"] == "down"}
        assert down == {job}
    finally:
        farm.start(name)
        farm.wait(lambda: farm.query(f'up{{job="{job}"}} == 1') != [])


async def test_numbers_that_are_no_longer_scraped_are_missing(farm: Farm, take: Take) -> None:
    """An exporter that hangs: its target is down, and the last numbers are no longer given."""
    farm.stop("process")
    farm.wait(lambda: farm.query('up{job="processes"} == 0') != [])
    try:
        seen = await take("metrics.scraped", agents=[AGENT], ports=farm.ports, within_s=2)
        assert seen.status == "failed"
        assert seen.evidence["agents"] == []
    finally:
        farm.start("process")
        farm.wait(lambda: farm.query('up{job="processes"} == 1') != [])
