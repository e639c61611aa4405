"""swarm-init against a real Docker Engine."""

from pathlib import Path

from agency.reconcile.engine.engine import Engine as ReconcileEngine
from agency.reconcile.engine.engine import Outcome, Report
from agency.reconcile.swarm.init import SwarmInitSettings, opened


async def converge(engine, place: Path, *, check: bool = False, address="127.0.0.1") -> Report:
    settings = SwarmInitSettings(docker_url=engine.url, advertise_address=address)
    async with opened(settings) as reconciler:
        return await ReconcileEngine("swarm-init", reconciler, place).run(check=check)


async def test_makes_a_swarm_of_one_node_and_then_changes_nothing(engine, tmp_path):
    first = await converge(engine, tmp_path)
    assert first.outcome is Outcome.CHANGED, first
    cluster = engine.cli("info", "--format", "{{json .Swarm.Cluster}}")
    assert engine.cli("node", "ls", "-q").count("\n") == 0
    assert engine.cli("info", "--format", "{{.Swarm.NodeAddr}}") == "127.0.0.1"

    second = await converge(engine, tmp_path)
    assert (second.outcome, second.applied) == (Outcome.UNCHANGED, ())
    assert engine.cli("info", "--format", "{{json .Swarm.Cluster}}") == cluster


async def test_a_check_says_that_there_is_no_swarm_and_makes_none(engine, tmp_path):
    report = await converge(engine, tmp_path, check=True)
    assert (report.outcome, int(report.exit_code)) == (Outcome.DRIFT, 1)
    assert report.pending[0].before == "absent"
    assert engine.cli("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"


async def test_a_drained_node_takes_work_again(swarm, tmp_path):
    node = swarm.cli("node", "ls", "-q")
    swarm.cli("node", "update", "--availability", "drain", node)
    report = await converge(swarm, tmp_path)
    assert [(c.what, c.before, c.after) for c in report.applied] == [
        ("availability", "drain", "active")
    ]
    assert swarm.inspect("node", node)["Spec"]["Availability"] == "active"


async def test_an_empty_swarm_at_another_address_is_made_anew(swarm, tmp_path):
    report = await converge(swarm, tmp_path, address="127.0.0.2")
    assert report.outcome is Outcome.CHANGED, report
    assert swarm.cli("info", "--format", "{{.Swarm.NodeAddr}}") == "127.0.0.2"


async def test_a_swarm_that_holds_something_is_not_thrown_away(swarm, tmp_path):
    swarm.cli("secret", "create", "precious", "-", stdin=b"do not lose me")
    report = await converge(swarm, tmp_path, address="127.0.0.2")
    assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
    assert "1 secrets" in report.failures[0].error.message
    assert swarm.cli("secret", "ls", "--format", "{{.Name}}") == "precious"


async def test_a_data_path_port_that_differs_is_seen(swarm, tmp_path):
    settings = SwarmInitSettings(
        docker_url=swarm.url, advertise_address="127.0.0.1", data_path_port=7789
    )
    async with opened(settings) as reconciler:
        run = ReconcileEngine("swarm-init", reconciler, tmp_path).run
        assert (await run()).outcome is Outcome.CHANGED
        assert (await run()).outcome is Outcome.UNCHANGED
