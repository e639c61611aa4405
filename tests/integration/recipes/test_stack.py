"""Whether a stack runs as it was deployed last, on a real swarm."""

from agency.clock import Clock
from agency.recipes.run.swarm import Swarm

STACK = "stack-of-tasks"
COMPOSE = """
version: "3.8"
services:
  app:
    image: agency-test/nginx:1.22
    command: ["sh", "-c", "trap '' TERM; sleep 3600"]
    environment: {VERSION: "%s"}
    stop_grace_period: 3s
    deploy: {endpoint_mode: dnsrr, update_config: {order: stop-first, monitor: 100ms}}
"""


def deploy(swarm, tmp_path, version):
    (tmp_path / "compose.yml").write_text(COMPOSE % version)
    swarm.cli("stack", "deploy", f"--compose-file={tmp_path / 'compose.yml'}", STACK)


def test_a_task_of_an_earlier_definition_does_not_count(swarm, tmp_path):
    """The old task runs on for the three seconds that it takes to end it."""
    seen = Swarm(swarm.url, Clock())
    try:
        deploy(swarm, tmp_path, "one")
        seen.wait_settled(STACK, 60)
        deploy(swarm, tmp_path, "two")
        (service,) = seen.wait_settled(STACK, 60)
        tasks = swarm.cli(
            "service", "ps", "--format", "{{.ID}} {{.CurrentState}}", service.name
        ).splitlines()
        running = [line.split()[0] for line in tasks if "Running" in line]
        environment = swarm.inspect("task", running[0])["Spec"]["ContainerSpec"]["Env"]
        assert (len(running), environment) == (1, ["VERSION=two"])
    finally:
        assert seen.remove(STACK, 60) == ()
