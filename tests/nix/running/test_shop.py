"""What the probes of the shop look at is what the full machine has: units, paths and ports."""

from __future__ import annotations

from typing import Any

import pytest
from unitwalk.units import Machine, machine

from agency import naming
from agency.instance.model import Instance, Services
from agency.spinup.probes.shop.ci import CI_UNITS
from agency.spinup.probes.shop.cluster import KUBECONFIG
from agency.spinup.probes.shop.forge import GITLAB_UNITS, TOKEN
from agency.spinup.shop.services import enabled

Facts = dict[str, Any]
ENGINES = ("builtin", "drone", "woodpecker")
OTHERS = Services.model_fields.keys() - {"ci"}


def instance(engine: str) -> Instance:
    """An instance with every service."""
    on: dict[str, Any] = {name: {"enable": True} for name in OTHERS}
    return Instance.model_validate(
        {
            "version": 1,
            "name": "sample",
            "domain": "a.example",
            "operators": ["@alice:a.example"],
            "services": {**on, "ci": {"enable": True, "engine": engine}},
            "preview": ["gitlab-runner"],
            "secrets": {"provider": "ephemeral"},
        }
    )


@pytest.fixture(params=ENGINES)
def named(request: pytest.FixtureRequest, hosts: dict[str, Facts]) -> tuple[str, Machine]:
    return request.param, machine(hosts[request.param])


def test_every_unit_that_is_looked_at_is_on_the_machine(named: tuple[str, Machine]) -> None:
    engine, full = named
    looked_at = {service.unit for service in enabled(instance(engine))}
    looked_at |= {*GITLAB_UNITS, *CI_UNITS[engine]}
    assert len(looked_at) > 12
    assert looked_at - full.units.keys() == set()
    assert "no-such.service" not in full.units


def test_credentials_are_where_the_machine_puts_them(named: tuple[str, Machine]) -> None:
    _, full = named
    assert full.units["gitlab-admin-token.service"].last("ExecStart").endswith(f" {TOKEN}")
    assert f"--write-kubeconfig={KUBECONFIG}" in full.units["k3s.service"].last("ExecStart")


def test_ports_are_where_the_services_listen(named: tuple[str, Machine]) -> None:
    _, full = named
    ports = naming.SERVICE_PORTS
    assert full.units["gitlab-http.socket"].last("ListenStream") == f"127.0.0.1:{ports['gitlab']}"
    prometheus = full.units["prometheus.service"].last("ExecStart")
    assert f"127.0.0.1:{ports['prometheus']}" in prometheus
