"""Services that an instance enables, and the unit by which each is known: pure.

As the modules have it: an instance says `gitlab`, and with it come the registry and the runners. A
feature whose program is unwritten is not enabled by itself (`modules/unwritten.json`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agency.instance import Instance
from agency.spinup.probes.shop.ci import CI_UNITS
from agency.spinup.record import Evidence
from agency.transcript import HOMESERVER_UNIT
from agency.unwritten import FEATURES

_RUNNER = "gitlab-runner"


@dataclass(frozen=True, slots=True)
class Service:
    """An enabled service. `told` is the input of its probe."""

    name: str
    unit: str
    told: Evidence = field(default_factory=dict)


def enabled(instance: Instance) -> tuple[Service, ...]:
    """List every service that must be shown, in a fixed order."""
    return tuple(_enabled(instance))


def _enabled(instance: Instance) -> Iterator[Service]:
    services = instance.services
    engine = services.ci.engine
    runner = _RUNNER not in FEATURES or _RUNNER in instance.preview
    for wanted, service in (
        (services.matrix.enable, Service("matrix", HOMESERVER_UNIT)),
        (services.edge.enable, Service("edge", "nginx.service")),
        (services.element.enable, Service("element", "nginx.service")),
        (services.gitlab.enable, Service("gitlab", "gitlab.service")),
        (services.gitlab.enable, Service("registry", "docker-registry.service")),
        (services.gitlab.enable and runner, Service("runner", "gitlab-runner.service")),
        (services.observability.enable, Service("grafana", "grafana.service")),
        (services.observability.enable, Service("prometheus", "prometheus.service")),
        (services.k3s.enable, Service("k3s", "k3s.service")),
        (services.swarm.enable, Service("swarm", "docker.service")),
        (services.traefik.enable, Service("traefik", "docker.service")),
        (services.ci.enable, Service("ci", CI_UNITS[engine][0], {"engine": engine})),
        (services.bridge.enable, Service("bridge", "agency-bridge.service")),
        (services.dashboard.enable, Service("dashboard", "agency-dashboard.service")),
    ):
        if wanted:
            yield service


def pages(instance: Instance) -> tuple[str, ...]:
    """List the pages to which people log in with an account of the forge."""
    services = instance.services
    if not services.gitlab.enable:
        return ()
    engine = services.ci.engine if services.ci.enable else None
    wanted = {
        "matrix": services.matrix.enable,
        "grafana": services.observability.enable,
        "drone": engine == "drone",
        "woodpecker": engine == "woodpecker",
    }
    return tuple(name for name, there in wanted.items() if there)


def listed(services: tuple[Service, ...], states: Evidence) -> list[Evidence]:
    """Describe each service by its unit's state: on the machine, or absent with the reason."""
    found = []
    for service in services:
        state = states[service.unit]
        why = _absence(service.unit, state["load"], state["active"])
        found.append(
            {
                "service": service.name,
                "unit": service.unit,
                "load": state["load"],
                "active": state["active"],
                "here": not why,
                "why": why,
            }
        )
    return found


def _absence(unit: str, load: str, active: str) -> str:
    """Return the reason why a service is not on the machine; empty where it is."""
    if load == "not-found":
        return f"the machine has no {unit}"
    if load != "loaded":
        return f"{unit} is {load}"
    return f"{unit} is {active}" if active == "inactive" else ""
