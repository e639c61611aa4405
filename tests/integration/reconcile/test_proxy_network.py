"""proxy-network against a real Docker Swarm."""

import asyncio
from pathlib import Path

import pytest

from agency.clock import Clock
from agency.docker import DockerError
from agency.errors import PrerequisiteError
from agency.reconcile.engine.engine import Engine as ReconcileEngine
from agency.reconcile.engine.engine import Outcome, Report
from agency.reconcile.swarm.proxy_network import ProxyNetworkSettings, opened

IMAGE = "agency-test/busybox:1"


async def converge(engine, place: Path, *, check: bool = False, **wanted) -> Report:
    settings = ProxyNetworkSettings(docker_url=engine.url, **wanted)
    async with opened(settings) as reconciler:
        return await ReconcileEngine("proxy-network", reconciler, place).run(check=check)


def networks(engine, name: str = "proxy") -> list[str]:
    listed = engine.cli("network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}")
    return [line.split()[0] for line in listed.splitlines() if line.split()[1] == name]


async def test_makes_the_network_and_then_changes_nothing(swarm, tmp_path):
    assert (await converge(swarm, tmp_path)).outcome is Outcome.CHANGED
    made = swarm.inspect("network", "proxy")
    assert (made["Driver"], made["Scope"], made["Attachable"]) == ("overlay", "swarm", True)

    assert (await converge(swarm, tmp_path)).outcome is Outcome.UNCHANGED
    again = swarm.inspect("network", "proxy")
    assert (again["Id"], again["Created"]) == (made["Id"], made["Created"])


async def test_a_name_that_only_contains_ours_is_another_network(swarm, tmp_path):
    swarm.cli("network", "create", "--driver", "overlay", "--attachable", "proxy-other")
    assert (await converge(swarm, tmp_path)).outcome is Outcome.CHANGED
    assert len(networks(swarm)) == 1
    assert len(networks(swarm, "proxy-other")) == 1


@pytest.mark.parametrize(
    ("made", "differs"),
    [
        (["--driver", "overlay"], "attachable"),
        (["--driver", "overlay", "--attachable", "--internal"], "internal"),
        (["--driver", "overlay", "--attachable", "--opt", "encrypted"], "encrypted"),
        (["--driver", "bridge"], "driver"),
    ],
)
async def test_an_unused_network_that_differs_is_made_anew(swarm, tmp_path, made, differs):
    swarm.cli("network", "create", *made, "proxy")
    old = networks(swarm)

    check = await converge(swarm, tmp_path, check=True)
    assert int(check.exit_code) == 1
    assert differs in check.pending[0].what
    assert networks(swarm) == old

    assert (await converge(swarm, tmp_path)).outcome is Outcome.CHANGED
    assert (await converge(swarm, tmp_path)).outcome is Outcome.UNCHANGED
    assert len(networks(swarm)) == 1
    assert networks(swarm) != old


async def test_a_subnet_that_differs_is_mended(swarm, tmp_path):
    await converge(swarm, tmp_path, subnet="10.77.0.0/24")
    assert (await converge(swarm, tmp_path, subnet="10.77.0.0/24")).outcome is Outcome.UNCHANGED
    report = await converge(swarm, tmp_path, subnet="10.78.0.0/24")
    assert report.outcome is Outcome.CHANGED
    assert swarm.inspect("network", "proxy")["IPAM"]["Config"][0]["Subnet"] == "10.78.0.0/24"


async def test_a_network_in_use_is_not_taken_away(swarm, tmp_path):
    swarm.cli("network", "create", "--driver", "overlay", "proxy")
    swarm.cli(
        "service", "create", "--detach", "--name", "shop", "--network", "proxy",
        "--no-resolve-image", IMAGE, "sleep", "600",
    )  # fmt: skip
    before = networks(swarm)
    try:
        report = await converge(swarm, tmp_path)
        assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
        assert "in use by shop" in report.failures[0].error.message
        assert networks(swarm) == before
    finally:
        swarm.cli("service", "rm", "shop")


async def test_a_run_that_ended_after_the_removal_converges_next_time(swarm, tmp_path, monkeypatch):
    swarm.cli("network", "create", "--driver", "overlay", "proxy")
    settings = ProxyNetworkSettings(docker_url=swarm.url)

    async def refuse(_config):
        raise DockerError("no space left", where="test", status=500)

    async with opened(settings) as reconciler:
        monkeypatch.setattr(reconciler.client.networks, "create", refuse)
        report = await ReconcileEngine("proxy-network", reconciler, tmp_path).run()
    assert report.outcome is Outcome.FAILED
    assert report.failures[0].error.message == "no space left"
    assert networks(swarm) == []

    assert (await converge(swarm, tmp_path)).outcome is Outcome.CHANGED


async def test_two_runs_at_once_make_one_network(swarm, tmp_path):
    reports = await asyncio.gather(*[converge(swarm, tmp_path) for _ in range(2)])
    assert sorted(report.outcome for report in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]
    assert len(networks(swarm)) == 1


async def test_without_a_swarm_it_says_what_must_run_first(engine, tmp_path):
    with pytest.raises(PrerequisiteError) as told:
        await converge(engine, tmp_path)
    assert "swarm-init" in str(told.value.hint)


async def test_without_a_docker_engine_it_says_what_is_missing(tmp_path):
    settings = ProxyNetworkSettings(docker_url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(PrerequisiteError) as told:
        async with opened(settings, Clock()):
            pass
    assert told.value.exit_code == 3
