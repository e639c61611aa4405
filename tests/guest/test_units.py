"""The project's own units are hardened, and the measure can tell."""

import re

import pytest

from agency import naming

LIMIT = 2.0


def exposure(host, unit: str) -> float:
    """What `systemd-analyze security` says; 0 is best, 10 worst."""
    text = host.run("systemd-analyze security --no-pager %s", unit).stdout
    found = re.search(r"Overall exposure level for .*?: ([0-9.]+)", text)
    assert found, text[-500:]
    return float(found[1])


@pytest.fixture(scope="module")
def own_units(host, agents) -> list[str]:
    listed = host.run("systemctl list-unit-files --no-legend 'agency-*.service'").stdout
    names = [line.split()[0] for line in listed.splitlines()]
    first = min(agents)
    concrete = [name.replace("@.", f"@{first}.") for name in names]
    assert naming.agent_unit(first) in concrete
    assert "agency-control.service" in concrete
    return sorted(set(concrete))


def test_every_own_unit_is_hardened(host, own_units):
    exposures = {unit: exposure(host, unit) for unit in own_units}
    too_open = {unit: level for unit, level in exposures.items() if level > LIMIT}
    assert too_open == {}


def test_a_unit_without_hardening_would_be_noticed(host):
    assert exposure(host, "nginx.service") > LIMIT
