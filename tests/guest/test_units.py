"""Promise: each of the project's own units is hardened to an exposure of at most 2.0."""

import re

import pytest

from agency import naming

LIMIT = 2.0
OPEN_UNIT = "getty@tty1.service"  # every systemd has it, and it holds nothing back


def exposures(host, units: list[str]) -> dict[str, float]:
    """What `systemd-analyze security` says of each; 0 is best, 10 worst."""
    text = host.run("systemd-analyze security --no-pager " + " ".join("%s" for _ in units), *units)
    found = re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", text.stdout)
    assert {name for name, _ in found} == {*units}, text.stderr
    return {name: float(level) for name, level in found}


@pytest.fixture(scope="module")
def own_units(host, agents) -> list[str]:
    listed = host.run("systemctl list-unit-files --no-legend 'agency-*.service'").stdout
    names = [line.split()[0] for line in listed.splitlines()]
    first = min(agents)
    concrete = [name.replace("@.", f"@{first}.") for name in names]
    assert naming.agent_unit(first) in concrete
    assert "agency-control.service" in concrete
    return sorted(set(concrete))


@pytest.mark.claim("units-hardened", "hardened", disturbs=False)
def test_every_own_unit_is_hardened(host, own_units):
    assert {
        unit: level for unit, level in exposures(host, own_units).items() if level > LIMIT
    } == {}


@pytest.mark.claim("unhardened-noticed", "hardened", disturbs=False, control=True)
def test_a_unit_without_hardening_would_be_noticed(host):
    assert exposures(host, [OPEN_UNIT])[OPEN_UNIT] > LIMIT


def core_limits(host, units: list[str]) -> dict[str, str]:
    """The largest core dump that systemd lets each unit's processes leave."""
    text = "systemctl show --value -p LimitCORE " + " ".join("%s" for _ in units)
    said = host.run(text, *units).stdout.split()
    return dict(zip(units, said, strict=True))


@pytest.mark.claim("no-core-dumps", "hardened", disturbs=False)
def test_no_own_unit_leaves_its_memory_on_disk(host, own_units):
    """Nor does the homeserver: tokens are in it."""
    units = [*own_units, "matrix-synapse.service"]
    assert core_limits(host, units) == dict.fromkeys(units, "0")


@pytest.mark.claim("core-dumps-noticed", "hardened", disturbs=False, control=True)
def test_a_unit_that_leaves_its_memory_would_be_noticed(host):
    assert core_limits(host, [OPEN_UNIT])[OPEN_UNIT] != "0"
